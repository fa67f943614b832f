"""A description as tables: each with a title, the heads of its columns, and rows of text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yais.engines.builder.profiles import written
from yais.engines.builder.summary import size
from yais.engines.inspection.description import Binding, Loaded, OnnxFile, PlanFile, Tensor

_TENSOR = ("", "name", "datatype", "shape")


@dataclass(frozen=True, slots=True)
class Section:
    """A table; one of facts, each with its name, has neither title nor heads."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sections_of(described: OnnxFile | PlanFile) -> Iterator[Section]:
    return _of_onnx(described) if isinstance(described, OnnxFile) else _of_plan(described)


def _of_onnx(file: OnnxFile) -> Iterator[Section]:
    yield _facts(
        {
            "ONNX model": file.name,
            "size": size(file.size),
            "producer": file.producer or "not told",
            "opset": ", ".join(f"{domain} {version}" for domain, version in file.opsets.items()),
            "IR version": str(file.ir_version),
            "largest batch": _largest_batch(file.max_batch_size),
            "quantised": _yes(file.is_quantised),
        }
    )
    tensors = [("input", each) for each in file.inputs] + [("output", each) for each in file.outputs]
    yield Section("inputs and outputs", _TENSOR, tuple((way, *_tensor(each)) for way, each in tensors))
    weights = ((kind, f"{each.values:,}", size(each.size)) for kind, each in file.weights.items())
    yield Section("weights", ("datatype", "values", "size"), tuple(weights))
    operators = ((name, f"{count:,}") for name, count in file.operators.items())
    yield Section("operators", ("operator", "count"), tuple(operators))


def _of_plan(file: PlanFile) -> Iterator[Section]:
    facts = {"plan": f"built by {file.built_by}", "size": size(file.size)}
    if file.loaded is None:
        yield _facts({**facts, "not loaded": file.why_not or ""})
    else:
        yield _facts(facts | _facts_of(file.loaded))
        yield from _of_loaded(file.loaded)


def _facts_of(plan: Loaded) -> dict[str, str]:
    flags = {name.replace("_", " "): _flag(name, value) for name, value in plan.flags.items()}
    validity = {} if plan.validity is None else {"on this GPU": plan.validity.lower()}
    return {"name": plan.name, "layers": str(plan.layer_count), **validity, **flags}


def _of_loaded(plan: Loaded) -> Iterator[Section]:
    profiles = range(len(plan.activations))
    heads = (*_TENSOR, "format", "memory", *(f"profile {profile}" for profile in profiles))
    rows = ((*_binding(each), *_ranges(each, len(profiles))) for each in plan.bindings)
    yield Section("inputs and outputs", heads, tuple(rows))
    activations = ((str(profile), size(plan.activations[profile])) for profile in profiles)
    yield Section("activations", ("profile", "memory"), tuple(activations))
    if plan.layers is not None:
        yield Section("layers", ("", "name", "kind"), tuple(_layers(plan.layers)))


def _facts(facts: Mapping[str, str]) -> Section:
    return Section("", (), tuple(facts.items()))


def _largest_batch(declared: int | None) -> str:
    return "not declared" if declared is None else "no batch dimension" if declared == 0 else str(declared)


def _tensor(tensor: Tensor) -> tuple[str, str, str]:
    return tensor.name, tensor.datatype, _shape(tensor.shape)


def _binding(binding: Binding) -> tuple[str, ...]:
    way = "input" if binding.is_input else "output"
    shape = _shape(["?" if dim == -1 else dim for dim in binding.shape])
    return way, binding.name, binding.datatype, shape, binding.format.lower(), binding.memory.lower()


def _ranges(binding: Binding, profiles: int) -> list[str]:
    """What each profile allows of an input; of an output it follows from those."""
    bounds = [f"{written(each.minimum)} to {written(each.maximum)}" for each in binding.ranges]
    return bounds or [""] * profiles


def _layers(layers: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
    """A layer is its name, or a mapping where the plan was built to keep all of it."""
    for index, layer in enumerate(layers):
        name, kind = (layer.get("Name", ""), layer.get("LayerType", "")) if isinstance(layer, dict) else (layer, "")
        yield str(index), str(name), str(kind)


def _shape(dims: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, dims))}]"


def _flag(name: str, value: str | int | bool) -> str:
    if isinstance(value, bool):
        return _yes(value)
    return size(value) if isinstance(value, int) and name.endswith("weights") else str(value).lower()


def _yes(value: bool) -> str:
    return "yes" if value else "no"

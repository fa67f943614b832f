"""Command `engine-inspect`: a file of either kind as JSON, or as tables of text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from yais.engines.base import EngineError
from yais.engines.builder.profiles import format_shape
from yais.engines.builder.summary import format_size
from yais.engines.inspection.onnx_file import OnnxFile, describe_onnx
from yais.engines.inspection.plan_file import PlanFile, describe_plan
from yais.engines.tensorrt.plan import read_header
from yais.version import version_option

EXAMPLES = """\b
Examples:
  engine-inspect model.onnx
  engine-inspect model.engine --layers
  engine-inspect model.engine --json | jq .loaded.bindings
"""

_TENSOR = ("", "name", "datatype", "shape")


@dataclass(frozen=True, slots=True)
class Section:
    """A table; one of facts, each with its name, has neither title nor heads."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@click.command("engine-inspect", epilog=EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layers", is_flag=True, help="Also print the layers of a plan.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@version_option
def main(file: Path, layers: bool, as_json: bool) -> None:
    """Prints the contents of FILE, a TensorRT plan or an ONNX model.

    A plan shows most where it can be loaded: with the TensorRT that built it, on the kind of GPU that it was built for.
    Elsewhere this prints its header, and why it cannot be loaded.
    """
    try:
        described = describe(file, layers)
    except EngineError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(asdict(described), indent=2))
    else:
        show(described, Console())


def show(described: OnnxFile | PlanFile, console: Console) -> None:
    """As tables on a terminal, as columns elsewhere."""
    for section in sections_of(described):
        if not console.is_terminal:
            # rich would cut or wrap lines at the width that it takes a pipe to have.
            indent = "  " if section.title else ""
            rows = [section.heads, *section.rows] if section.heads else section.rows
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            if section.title:
                click.echo(f"\n{section.title}")
            for row in rows:
                cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                click.echo((indent + cells).rstrip())
            continue
        title, heads = section.title or None, section.heads
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=bool(heads))
        for head in heads or ("", ""):
            table.add_column(head)
        for row in section.rows:
            # As `Text`: rich would take what is in brackets, as shapes are, for markup.
            table.add_row(*map(Text, row))
        console.print(table)


def describe(path: Path, with_layers: bool = False) -> OnnxFile | PlanFile:
    """Raises `EngineError` for what is neither a plan nor an ONNX model."""
    data = path.read_bytes()
    # A plan has a magic number and an ONNX file has none, so whatever is not the one may be the other.
    try:
        header = read_header(data)
    except EngineError as no_plan:
        try:
            return describe_onnx(path)
        except EngineError as no_model:
            raise EngineError(f"{path} is neither a plan nor an ONNX model: {no_plan}; {no_model}") from no_model
    return describe_plan(header, data, with_layers)


def sections_of(described: OnnxFile | PlanFile) -> Iterator[Section]:
    return _of_onnx(described) if isinstance(described, OnnxFile) else _of_plan(described)


def _of_onnx(file: OnnxFile) -> Iterator[Section]:
    declared = file.max_batch_size
    largest = "not declared" if declared is None else "no batch dimension" if declared == 0 else str(declared)
    yield _facts(
        {
            "ONNX model": file.name,
            "size": format_size(file.size),
            "producer": file.producer or "not told",
            "opset": ", ".join(f"{domain} {version}" for domain, version in file.opsets.items()),
            "IR version": str(file.ir_version),
            "largest batch": largest,
            "quantised": _yes(file.is_quantised),
        }
    )
    rows = (
        (way, tensor.name, tensor.datatype, _shape(tensor.shape))
        for way, tensors in (("input", file.inputs), ("output", file.outputs))
        for tensor in tensors
    )
    yield Section("inputs and outputs", _TENSOR, tuple(rows))
    weights = ((kind, f"{group.values:,}", format_size(group.size)) for kind, group in file.weights.items())
    yield Section("weights", ("datatype", "values", "size"), tuple(weights))
    operators = ((name, f"{count:,}") for name, count in file.operators.items())
    yield Section("operators", ("operator", "count"), tuple(operators))


def _of_plan(file: PlanFile) -> Iterator[Section]:
    plan = file.loaded
    facts = {"plan": f"built by {file.built_by}", "size": format_size(file.size)}
    if plan is None:
        yield _facts({**facts, "not loaded": file.why_not or ""})
        return
    validity = {"on this GPU": plan.validity.lower()} if plan.validity is not None else {}
    facts |= {"name": plan.name, "layers": str(plan.layer_count)} | validity
    for name, value in plan.flags.items():
        # A bool is an int, too.
        if isinstance(value, bool):
            text = _yes(value)
        elif isinstance(value, int) and name.endswith("weights"):
            text = format_size(value)
        else:
            text = str(value).lower()
        facts[name.replace("_", " ")] = text
    yield _facts(facts)
    # Activations are the one thing that every plan has once for each profile; a plan without inputs has one, too.
    profiles = range(len(plan.activations))
    heads = (*_TENSOR, "format", "memory", *(f"profile {profile}" for profile in profiles))
    rows = []
    for binding in plan.bindings:
        way = "input" if binding.is_input else "output"
        shape = _shape(["?" if dim == -1 else dim for dim in binding.shape])
        ranges = [f"{format_shape(bounds.minimum)} to {format_shape(bounds.maximum)}" for bounds in binding.ranges]
        # What a profile allows of an output follows from its inputs, and TensorRT does not say it.
        ranges = ranges or [""] * len(profiles)
        names = binding.name, binding.datatype, shape, binding.format.lower(), binding.memory.lower()
        rows.append((way, *names, *ranges))
    yield Section("inputs and outputs", heads, tuple(rows))
    activations = ((str(profile), format_size(size)) for profile, size in enumerate(plan.activations))
    yield Section("activations", ("profile", "memory"), tuple(activations))
    if plan.layers is not None:
        # Just a name, unless the plan was built with the profiling verbosity DETAILED, which makes it a JSON object.
        known = [each if isinstance(each, dict) else {"Name": each} for each in plan.layers]
        named = (
            (str(index), str(each.get("Name", "")), str(each.get("LayerType", ""))) for index, each in enumerate(known)
        )
        yield Section("layers", ("", "name", "kind"), tuple(named))


def _facts(facts: Mapping[str, str]) -> Section:
    return Section("", (), tuple(facts.items()))


def _shape(dims: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, dims))}]"


def _yes(value: bool) -> str:
    return "yes" if value else "no"

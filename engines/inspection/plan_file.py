"""Plan files as data: what the header says everywhere, and what TensorRT says where it can load the plan.

Their JSON is what `engine-inspect --json` prints.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yais.engines.base import EngineError, Shape
from yais.engines.builder.build import datatype
from yais.engines.tensorrt.library import Library, find_library
from yais.engines.tensorrt.plan import Header, load_plan

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True, slots=True)
class ProfileRange:
    """The shapes of an input that one profile allows, and the one that it is tuned for."""

    minimum: Shape
    optimum: Shape
    maximum: Shape


@dataclass(frozen=True, slots=True)
class BindingInfo:
    """An input or output; -1 in `shape` varies. `memory` is DEVICE, or HOST for what is a shape itself.

    `ranges`: of an input, one for each profile.
    """

    name: str
    is_input: bool
    datatype: str
    shape: Shape
    format: str
    memory: str
    ranges: tuple[ProfileRange, ...]


@dataclass(frozen=True, slots=True)
class LoadedInfo:
    """A plan as TensorRT loaded it; `activations` are bytes for each profile, `validity` is known to RTX alone.

    `layers` are as the plan keeps them: with all details, by name, or not at all; None when they were not asked for.
    """

    name: str
    bindings: tuple[BindingInfo, ...]
    activations: tuple[int, ...]
    layer_count: int
    flags: dict[str, str | int | bool]
    validity: str | None
    layers: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class PlanFile:
    """`loaded` is None where the plan cannot be loaded, for the reason `why_not`."""

    kind: str
    size: int
    built_by: str
    loaded: LoadedInfo | None
    why_not: str | None


def describe_plan(header: Header, data: bytes, with_layers: bool) -> PlanFile:
    # That a plan cannot be loaded is no error here: the header alone is worth printing.
    loaded, why_not = None, None
    try:
        library = find_library(header.flavour)
        # The engine must not outlive its runtime.
        runtime, engine = load_plan(data, library)
        validity = str(runtime.get_engine_validity(data)[0].name) if library.features.checks_validity else None
        loaded = describe_engine(engine, library, validity, with_layers)
    except EngineError as error:
        why_not = str(error)
    return PlanFile("plan", len(data), header.title, loaded, why_not)


def describe_engine(engine: "trt.ICudaEngine", library: Library, validity: str | None, with_layers: bool) -> LoadedInfo:
    profiles = range(engine.num_optimization_profiles)
    flags: dict[str, str | int | bool] = {"weights": engine.get_engine_stat()} if library.features.tells_weights else {}
    flags |= {
        "hardware_compatibility": engine.hardware_compatibility_level.name,
        "capability": engine.engine_capability.name,
        "refittable": engine.refittable,
        "profiling_verbosity": engine.profiling_verbosity.name,
        "auxiliary_streams": engine.num_aux_streams,
        # Bytes that could stay on the host while it runs, 0 unless it was built with weight streaming.
        "streamable_weights": engine.streamable_weights_size,
    }
    layers = None
    if with_layers:
        inspector = engine.create_engine_inspector()
        kind = library.module.LayerInformationFormat.JSON
        layers = tuple(json.loads(inspector.get_layer_information(each, kind)) for each in range(engine.num_layers))
    return LoadedInfo(
        name=engine.name,
        bindings=tuple(
            _binding(engine, library, engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)
        ),
        activations=tuple(engine.get_device_memory_size_for_profile_v2(profile) for profile in profiles),
        layer_count=engine.num_layers,
        flags=flags,
        validity=validity,
        layers=layers,
    )


def _binding(engine: "trt.ICudaEngine", library: Library, name: str) -> BindingInfo:
    is_input = engine.get_tensor_mode(name) == library.module.TensorIOMode.INPUT
    on_device = engine.get_tensor_location(name) == library.module.TensorLocation.DEVICE
    # TensorRT has ranges of shapes for inputs only; of a shape tensor, which is on the host, it has ranges of values.
    profiles = range(engine.num_optimization_profiles) if is_input and on_device else ()
    bounds = (engine.get_tensor_profile_shape(name, profile) for profile in profiles)
    return BindingInfo(
        name=name,
        is_input=is_input,
        datatype=datatype(engine.get_tensor_dtype(name)),
        shape=tuple(engine.get_tensor_shape(name)),
        format=engine.get_tensor_format(name).name,
        memory="DEVICE" if on_device else "HOST",
        ranges=tuple(ProfileRange(*map(tuple, shapes)) for shapes in bounds),
    )

"""Build of a plan: an ONNX file is rewritten if need be, parsed to a network, and built as its options say."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from yais.engines.builder.model import declared_batch, has_quantization, read_model, save
from yais.engines.builder.options import BuildOptions, capability_member, hardware_member
from yais.engines.builder.output import write_whole
from yais.engines.builder.profiles import BatchRange, NetworkTensor, Profile, ShapeRange, plan_profiles
from yais.engines.builder.progress import Monitor, make_monitor
from yais.engines.tensorrt.bindings import DECLARED_BATCH, NO_BATCH
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.logger import Messages, make_logger
from yais.engines.zoo import BuildError

if TYPE_CHECKING:
    import tensorrt as trt
    from onnx import ModelProto

__all__ = [
    "BatchRange",
    "BuildOptions",
    "ParsedNetwork",
    "PreparedBuild",
    "ShapeRange",
    "UnsupportedModelError",
    "build_plan",
    "build_prepared",
    "datatype",
    "prepare",
    "rewrite",
]

logger = logging.getLogger("yais.engines.builder")

# What TensorRT-RTX says of a network whose data decide shapes: such a plan has to take memory while it runs.
_TAKES_MEMORY = "requireUserAllocation|REQUIRE_USER_ALLOCATION"
_DATATYPES = {"FLOAT": "FP32", "HALF": "FP16"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What the parser does not take: a node with its operator, or an input, or the model as a whole."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class UnsupportedModelError(BuildError):
    """A model that TensorRT's parser does not take, with all that it says of it."""

    def __init__(self, library: Library, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n  ".join((f"{library.title} does not take the model", *map(str, faults))))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class ParsedNetwork:
    """A parsed network, with what must live as long as it does: the parser owns the weights."""

    library: Library
    messages: Messages
    builder: "trt.Builder"
    parser: "trt.OnnxParser"
    definition: "trt.INetworkDefinition"

    @property
    def inputs(self) -> tuple[NetworkTensor, ...]:
        return tuple(_tensor(self.definition.get_input(index)) for index in range(self.definition.num_inputs))

    @property
    def outputs(self) -> tuple[NetworkTensor, ...]:
        return tuple(_tensor(self.definition.get_output(index)) for index in range(self.definition.num_outputs))

    @property
    def layers(self) -> "Iterator[trt.ILayer]":
        return (self.definition.get_layer(index) for index in range(self.definition.num_layers))


def parse(path: Path, library: Library) -> ParsedNetwork:
    """The network of the ONNX file `path`. Raises `UnsupportedModelError`."""
    trt = library.module
    messages = Messages()
    trt_logger = make_logger(trt, messages)
    try:
        builder = trt.Builder(trt_logger)
    except TypeError as error:  # It is what pybind11 makes of a null pointer.
        raise BuildError(f"{library.title} finds no GPU with a new enough driver: {messages.take()}") from error
    # Strongly typed: the types are the model's, and no flag of the builder changes them. TensorRT 11 has no others.
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, trt_logger)
    # From the file, and not from bytes, so that weights beside it are found.
    if not parser.parse_from_file(str(path)):
        logged = messages.take()
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        faults = tuple(_fault(error, logged) for error in errors) or (Fault("the model", logged),)
        raise UnsupportedModelError(library, faults)
    return ParsedNetwork(library, messages, builder, parser, definition)


def datatype(of: "trt.DataType") -> str:
    """As the inference protocol calls it, as far as it knows it."""
    return _DATATYPES.get(of.name, of.name)


def _tensor(tensor: "trt.ITensor") -> NetworkTensor:
    return NetworkTensor(tensor.name, datatype(tensor.dtype), tuple(tensor.shape), tensor.is_shape_tensor)


def _fault(error: "trt.ParserError", logged: str) -> Fault:
    if error.func() == "importInput":
        # It is the one kind of error with a tensor's name in place of a file's.
        return Fault(f"input '{error.file()}'", f"{error.code().name}: {error.desc()}")
    if error.node() < 0:
        # The error itself does not say e.g. which file of weights is missing.
        return Fault("the model", f"{error.code().name}: {' '.join(logged.split())}")
    name = f"node '{error.node_name()}'" if error.node_name() else f"node {error.node()}"
    functions = "".join(f" in function {function}" for function in error.local_function_stack())
    # The check for operators that are not known at all says only this.
    text = "not supported" if error.desc() == "false" else "; ".join(error.desc().splitlines())
    return Fault(f"{name}, operator {error.node_operator()}{functions}", f"{error.code().name}: {text}")


def make_config(network: ParsedNetwork, options: BuildOptions, profiles: list[Profile]) -> "trt.IBuilderConfig":
    """Raises `BuildError` for a profile that TensorRT refuses."""
    trt, features = network.library.module, network.library.features
    config = network.builder.create_builder_config()
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.weight_streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    elif features.compiles_at_run_time:
        # A run that takes memory cannot be recorded as a CUDA graph.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if options.hardware_compatible:
        level = trt.HardwareCompatibilityLevel.__members__[hardware_member(options.hardware_compatible)]
        config.hardware_compatibility_level = level
    if options.capabilities:
        config.num_compute_capabilities = len(options.capabilities)
    for index, capability in enumerate(options.capabilities):
        config.set_compute_capability(trt.ComputeCapability.__members__[capability_member(capability)], index)
    for profile in profiles:
        made = network.builder.create_optimization_profile()
        for name, shape in profile.items():
            made.set_shape(name, shape.minimum, shape.optimum, shape.maximum)
        # The index of the profile, or -1 for one that is not valid.
        if config.add_optimization_profile(made) < 0:
            texts = ", ".join(map(str, profile.values()))
            raise BuildError(f"TensorRT refuses the shapes {texts}: {network.messages.take()}")
    # Without a cache of the user's, TensorRT keeps one for this build alone.
    if options.timing_cache and features.has_timing_cache:
        load_timing_cache(config, options.timing_cache)
    return config


def load_timing_cache(config: "trt.IBuilderConfig", path: Path) -> None:
    """Has the builder use the measurements in `path`; none when they are of another TensorRT or GPU, or damaged."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror}") from error
    cache = config.create_timing_cache(data)
    # False: measurements of another GPU are refused rather than used, since they say nothing about this one.
    if cache is None or not config.set_timing_cache(cache, False):
        logger.warning("%s is not used: it was measured by another TensorRT or on another GPU", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: "trt.IBuilderConfig", path: Path) -> None:
    """A cache that cannot be written costs the next build time, but not this one its plan."""
    try:
        write_whole(path, bytes(config.get_timing_cache().serialize()))
    except BuildError as error:
        logger.warning("the timing cache is lost: %s", error)


@dataclass(frozen=True, slots=True)
class PreparedBuild:
    """A network that can be built, and the profiles for it."""

    network: ParsedNetwork
    profiles: list[Profile]


def build_plan(model: Path, options: BuildOptions, library: Library, monitor: Monitor | None = None) -> bytes:
    """The plan of the ONNX file `model`. Raises `BuildError`. Takes minutes on a GPU, in which other threads go on."""
    return build_prepared(prepare(model, options, library), options, monitor)


def prepare(model: Path, options: BuildOptions, library: Library) -> PreparedBuild:
    """Does all that can fail for what the model is or what is asked of it. Raises `BuildError`."""
    options.check(library)
    with _rewritten(model, options) as (path, name, declared):
        network = parse(path, library)
    if declared == 0 or options.max_batch == 0:
        name += NO_BATCH
    # Who asks for ranges of rows knows that they are rows.
    elif declared or options.batches:
        name += DECLARED_BATCH
    network.definition.name = name
    return PreparedBuild(network, plan_profiles(network.inputs, network.outputs, options.bounds, declared))


def build_prepared(prepared: PreparedBuild, options: BuildOptions, monitor: Monitor | None = None) -> bytes:
    network = prepared.network
    config = make_config(network, options, prepared.profiles)
    # TensorRT does not keep the monitor alive.
    watching = make_monitor(network.library.module, monitor) if monitor is not None else None
    if watching is not None:
        config.progress_monitor = watching
    plan, logged = _build(network, config)
    # Only the builder finds out which shapes depend on data, so that the flag is tried first.
    if plan is None and re.search(_TAKES_MEMORY, logged):
        config.clear_flag(network.library.module.BuilderFlag.REQUIRE_USER_ALLOCATION)
        plan, logged = _build(network, config)
    if plan is None:
        name = network.definition.name.removesuffix(DECLARED_BATCH).removesuffix(NO_BATCH)
        raise BuildError(f"{network.library.title} cannot build '{name}': {logged}")
    if options.timing_cache and network.library.features.has_timing_cache:
        save_timing_cache(config, options.timing_cache)
    return bytes(plan)


def _build(network: ParsedNetwork, config: "trt.IBuilderConfig") -> "tuple[trt.IHostMemory | None, str]":
    """The plan, or None and what TensorRT logged."""
    # What was logged before, while the network was parsed, is no reason for a build to fail.
    network.messages.take()
    plan: trt.IHostMemory | None = network.builder.build_serialized_network(network.definition, config)
    return plan, network.messages.take() if plan is None else ""


def rewrite(model: "ModelProto", options: BuildOptions) -> "ModelProto":
    """The model in the precision asked for, by calibration where that is INT8 and it is not quantised yet."""
    from yais.engines.builder.calibration import quantize
    from yais.engines.builder.precision import convert

    if options.precision is None:
        return model
    if options.precision != "int8":
        return convert(model, options.precision)
    if has_quantization(model):
        if options.calibration is not None:
            raise BuildError("--calibrate: the model is quantised already")
        return model
    if options.calibration is None:
        raise BuildError("--precision int8: the model is not quantised; --calibrate FOLDER quantises it on pictures")
    return quantize(model, options.calibration, options.calibration_pictures, options.calibration_scaling)


@contextmanager
def _rewritten(path: Path, options: BuildOptions) -> Iterator[tuple[Path, str, int | None]]:
    """The file to parse, the model's name, and the largest batch that it declares."""
    model = read_model(path, weights=options.is_rewrite)
    name, declared = model.graph.name or path.stem, declared_batch(model)
    if not options.is_rewrite:
        yield path, name, declared
        return
    with TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        save(rewrite(model, options), made)
        # The folder may go once the file is parsed: the parser has the weights by then.
        yield made, name, declared

"""Summary of a build, as lines of text."""

from collections import Counter
from collections.abc import Iterator
from textwrap import shorten

from yais.engines.base import EngineError
from yais.engines.builder.build import PreparedBuild, datatype
from yais.engines.builder.profiles import NetworkTensor, format_shape
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.plan import load_plan

# Types in which layers compute; the others are those of indices and conditions.
_COMPUTED = ("FP32", "FP16", "BF16", "INT8", "FP8", "INT4", "FP4")


def describe_network(prepared: PreparedBuild) -> Iterator[str]:
    """Its layers by datatype, and its inputs and outputs with what the profiles allow."""
    # What has no output, as an assertion, computes in no type.
    layers = [layer for layer in prepared.network.layers if layer.num_outputs]
    kinds = Counter(datatype(layer.get_output(0).dtype) for layer in layers)
    shares = ", ".join(f"{kinds[kind]} {kind}" for kind in _COMPUTED if kinds[kind])
    of_which = f", of which {shares}" if shares else ""
    yield f"layers      {prepared.network.definition.num_layers} before TensorRT joins them{of_which}"
    for tensor in prepared.network.inputs:
        ranges = [profile[tensor.name] for profile in prepared.profiles if -1 in tensor.shape]
        bounds = (f", {format_shape(shape.minimum)} to {format_shape(shape.maximum)}" for shape in ranges)
        yield f"input       {_described(tensor)}{''.join(bounds)}"
    for tensor in prepared.network.outputs:
        yield f"output      {_described(tensor)}"


def describe_plan(library: Library, plan: bytes, seconds: float) -> Iterator[str]:
    """Its size, and the memory that one run needs, which only a GPU that can load the plan knows."""
    yield f"plan        {format_size(len(plan))}, built by {library.title} in {seconds:.1f} s"
    try:
        _, engine = load_plan(plan, library)
    except EngineError as error:
        yield f"activations unknown, since it cannot be loaded here: {shorten(str(error), 120, placeholder=' ...')}"
    else:
        yield f"activations {format_size(engine.device_memory_size_v2)}"


def format_size(count: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB"


def _described(tensor: NetworkTensor) -> str:
    shape = ", ".join("?" if dim == -1 else str(dim) for dim in tensor.shape)
    return f"{tensor.name} {tensor.datatype} [{shape}]"

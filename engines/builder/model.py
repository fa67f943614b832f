"""ONNX files: reading and writing them, and what their models declare and consist of."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from yais.engines.base import MAX_BATCH_SIZE_KEY
from yais.engines.zoo import BuildError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

# No protobuf message can be larger; weights of larger models lie in files beside it.
_LARGEST_MESSAGE = 2**31 - 1

# The domain of ONNX's own operators, by either of its names.
DOMAINS = ("", "ai.onnx")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def read_model(path: Path, weights: bool = True) -> "ModelProto":
    """The model in `path`, without the weights in files beside it if they are not asked for. Raises `BuildError`."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise BuildError("the package onnx is missing: pip install 'yais[build]'") from error
    try:
        # "protobuf", or the suffix would decide the format.
        model = onnx.load(path, "protobuf", load_external_data=weights)
    except Exception as error:  # Those of protobuf and of external data share no narrower base.
        raise BuildError(f"cannot read {path} as an ONNX model: {error}") from error
    if not model.graph.output:
        raise BuildError(f"cannot read {path} as an ONNX model: it has no outputs")
    return model


def encode(model: "ModelProto") -> bytes:
    """The bytes of an ONNX file. Raises `BuildError` for a model that is too large for one."""
    if model.ByteSize() > _LARGEST_MESSAGE:
        raise BuildError("the model is larger than 2 GiB, which one ONNX file cannot be")
    return bytes(model.SerializeToString(deterministic=True))


def save(model: "ModelProto", path: Path) -> None:
    """Writes a model of any size, in two files where one cannot hold it."""
    import onnx

    # onnx leaves weights of less than a kilobyte in the file itself.
    is_large = model.ByteSize() > _LARGEST_MESSAGE
    try:
        onnx.save(model, path, save_as_external_data=is_large, location=f"{path.name}.data")
    except OSError as error:
        raise BuildError(f"cannot write {path}: {error.strerror}") from error


def declared_batch(model: "ModelProto") -> int | None:
    """The largest batch that the model declares, 0 for no batch dimension; None when it does not say."""
    value = next((entry.value for entry in model.metadata_props if entry.key == MAX_BATCH_SIZE_KEY), None)
    if value is not None and not value.isdecimal():
        raise BuildError(f"{MAX_BATCH_SIZE_KEY} is {value!r}, not a number")
    return None if value is None else int(value)


def has_quantization(model: "ModelProto") -> bool:
    return any(node.op_type in _QUANTIZERS for node in nodes_of(model))


def nodes_of(model: "ModelProto") -> "Iterator[NodeProto]":
    """The nodes of the model, those of bodies and functions included."""
    yield from _nested(model.graph.node)
    for function in model.functions:
        yield from _nested(function.node)


def opset_of(model: "ModelProto") -> int:
    """The version of ONNX's own operators; 1 where none is said."""
    return max((entry.version for entry in model.opset_import if entry.domain in DOMAINS), default=1)


def _nested(nodes: "Iterable[NodeProto]") -> "Iterator[NodeProto]":
    for node in nodes:
        yield node
        for body in bodies_of(node):
            yield from _nested(body.node)


def bodies_of(node: "NodeProto") -> "list[GraphProto]":
    """The graphs of a loop or a branch."""
    # An attribute of another kind has an empty graph, without the outputs that every body has.
    return [graph for attribute in node.attribute for graph in (*attribute.graphs, attribute.g) if graph.output]

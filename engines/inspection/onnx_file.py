"""ONNX files as data, whose JSON is what `engine-inspect --json` prints."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from yais.engines.builder.model import DOMAINS, bodies_of, declared_batch, has_quantization, nodes_of, read_model

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

# ONNX's name of a type -> that of the inference protocol, where they differ.
_DATATYPES = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64", "STRING": "BYTES"}
# Types of 4 bits, two values of which ONNX packs into a byte.
_HALF_BYTES = ("INT4", "UINT4", "FLOAT4E2M1")


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """An input or output; a string in `shape` is the name of a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """How many values of one type the model has, and the bytes of them."""

    values: int
    size: int


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """`size` is that of the file alone, without those of weights that lie beside it.

    `opsets` are by domain, `max_batch_size` is what the model declares, `weights` are by type, and `operators` say how
    often each is used.
    """

    kind: str
    size: int
    name: str
    producer: str
    ir_version: int
    opsets: dict[str, int]
    max_batch_size: int | None
    is_quantised: bool
    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    weights: dict[str, Weights]
    operators: dict[str, int]


def describe_onnx(path: Path) -> OnnxFile:
    """Raises `BuildError` for what is no ONNX file."""
    # Weights in files beside it may be many gigabytes, and their number and type is in the file itself.
    model = read_model(path, weights=False)
    weights = {weight.name for weight in model.graph.initializer}
    operators = Counter(
        node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}" for node in nodes_of(model)
    )
    return OnnxFile(
        kind="onnx",
        size=path.stat().st_size,
        name=model.graph.name,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        max_batch_size=declared_batch(model),
        is_quantised=has_quantization(model),
        # Up to IR version 3, weights had to be inputs as well, and some exporters still list them.
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        weights=_weights(model),
        operators=dict(operators.most_common()),
    )


def _tensor(value: "ValueInfoProto") -> OnnxTensor:
    # A sequence, a map or an optional: it has no datatype or shape of its own.
    if not value.type.HasField("tensor_type"):
        return OnnxTensor(value.name, str(value.type.WhichOneof("value")).removesuffix("_type").upper(), ())
    kind = value.type.tensor_type
    dims = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim)
    return OnnxTensor(value.name, _datatype(kind.elem_type), tuple(dims))


def _weights(model: "ModelProto") -> dict[str, Weights]:
    """By type, the most bytes first, whether they are in the file or beside it."""
    # Imported late: onnx is an optional package, and takes a second.
    from onnx import TensorProto, helper

    values: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for weight in _initializers(model.graph):
        kind, count = _datatype(weight.data_type), prod(weight.dims)
        values[kind] += count
        if weight.data_type == TensorProto.STRING:
            sizes[kind] += sum(map(len, weight.string_data))
        elif kind in _HALF_BYTES:
            # Each tensor begins with a byte of its own.
            sizes[kind] += (count + 1) // 2
        else:
            sizes[kind] += count * int(helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize)
    return {kind: Weights(values[kind], size) for kind, size in sizes.most_common()}


def _initializers(graph: "GraphProto") -> "Iterator[TensorProto]":
    yield from graph.initializer
    for node in graph.node:
        for body in bodies_of(node):
            yield from _initializers(body)


def _datatype(number: int) -> str:
    from onnx import TensorProto

    name: str = TensorProto.DataType.Name(number)
    return _DATATYPES.get(name, name)

"""What an ONNX file holds."""

from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from yais.engines.builder.halving import DOMAINS, bodies_of
from yais.engines.builder.model import declared_batch, read_model
from yais.engines.builder.precision import has_quantization, nodes_of
from yais.engines.inspection.description import OnnxFile, Tensor, Weights

_DATATYPES = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64", "STRING": "BYTES"}
_HALF_BYTES = ("INT4", "UINT4", "FLOAT4E2M1")


def describe_onnx(path: Path) -> OnnxFile:
    """Raises `BuildError` for what is no ONNX file."""
    model = read_model(path, weights=False)
    weights = {weight.name for weight in model.graph.initializer}
    operators = Counter(_operator(node.domain, node.op_type) for node in nodes_of(model))
    return OnnxFile(
        kind="onnx",
        size=path.stat().st_size,
        name=model.graph.name,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        max_batch_size=declared_batch(model),
        is_quantised=has_quantization(model),
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        weights=_weights(model),
        operators=dict(operators.most_common()),
    )


def _operator(domain: str, name: str) -> str:
    return name if domain in DOMAINS else f"{domain}.{name}"


def _tensor(value: ValueInfoProto) -> Tensor:
    if not value.type.HasField("tensor_type"):
        return Tensor(value.name, str(value.type.WhichOneof("value")).removesuffix("_type").upper(), ())
    kind = value.type.tensor_type
    dims = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim)
    return Tensor(value.name, _datatype(kind.elem_type), tuple(dims))


def _weights(model: ModelProto) -> dict[str, Weights]:
    """By type, the most bytes first."""
    values: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for weight in _initializers(model.graph):
        values[_datatype(weight.data_type)] += prod(weight.dims)
        sizes[_datatype(weight.data_type)] += _size(weight)
    return {kind: Weights(values[kind], size) for kind, size in sizes.most_common()}


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for body in bodies_of(node):
            yield from _initializers(body)


def _datatype(number: int) -> str:
    name: str = TensorProto.DataType.Name(number)
    return _DATATYPES.get(name, name)


def _size(weight: TensorProto) -> int:
    """In bytes, whether they are in the file or beside it."""
    if weight.data_type == TensorProto.STRING:
        return sum(map(len, weight.string_data))
    values = prod(weight.dims)
    if _datatype(weight.data_type) in _HALF_BYTES:
        return (values + 1) // 2
    return values * int(helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize)

"""A model in another precision.

TensorRT's networks are strongly typed: each layer computes in the types that the model says. So a precision is a
rewrite of the model. FP32 tensors turn to a half type wherever the operators' schemas in ONNX allow it. What has no
such type stays FP32, and so does what is computed from shapes alone, where a half would miss the integers. The inputs
and outputs of the model, and those of the bodies of loops and branches, keep their types.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from onnx import ModelProto, NodeProto, inliner, shape_inference, version_converter

from yais.engines.builder.halves import BF16, FP16, Half
from yais.engines.builder.halving import DOMAINS, Scope, bodies_of
from yais.engines.zoo import BuildError

Precision = Literal["fp32", "fp16", "bf16", "int8"]

_HALVES: dict[Precision, Half] = {"fp16": FP16, "bf16": BF16}
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
# The first opsets whose Q/DQ have scales of a half type, and whose convolutions take BF16.
_QUANTIZED_OPSET, _BF16_OPSET = 19, 22


def convert(model: ModelProto, precision: Precision) -> ModelProto:
    """A copy of `model` in which layers compute in `precision`, as far as they can.

    Q/DQ stay, and their scales follow: a quantised model in FP16 is one whose other layers are. In INT8 it is as it is,
    and a model that is not quantised is refused. Raises `BuildError`.
    """
    made = ModelProto()
    made.CopyFrom(model)
    if precision == "int8" and not has_quantization(model):
        raise BuildError("precision int8: the model has no QuantizeLinear or DequantizeLinear; calibrate it")
    if precision in _HALVES:
        _halve(made, _HALVES[precision])
    return made


def has_quantization(model: ModelProto) -> bool:
    return any(node.op_type in _QUANTIZERS for node in nodes_of(model))


def nodes_of(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes of the model, those of bodies and functions included."""
    yield from _nested(model.graph.node)
    for function in model.functions:
        yield from _nested(function.node)


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operators; 1 where none is said."""
    return max((entry.version for entry in model.opset_import if entry.domain in DOMAINS), default=1)


def _nested(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for body in bodies_of(node):
            yield from _nested(body.node)


def _halve(model: ModelProto, half: Half) -> None:
    try:
        if model.functions:
            model.CopyFrom(inliner.inline_local_functions(model))
        _raise_opset(model, _BF16_OPSET if half is BF16 else _QUANTIZED_OPSET if has_quantization(model) else 1)
        model.graph.CopyFrom(shape_inference.infer_shapes(model).graph)
        Scope(model.graph, half, opset_of(model), _names(model)).rewrite()
    except (RuntimeError, ValueError, shape_inference.InferenceError) as error:
        raise BuildError(f"the model cannot be rewritten to {half.title}: {error}") from error


def _names(model: ModelProto) -> set[str]:
    names = {name for node in nodes_of(model) for name in (*node.input, *node.output)}
    return names | {each.name for each in model.graph.input} | {each.name for each in model.graph.initializer}


def _raise_opset(model: ModelProto, least: int) -> None:
    """Raises the version of ONNX's operators to `least`; all else that the model says stays as it is."""
    if opset_of(model) < least:
        raised = version_converter.convert_version(model, least)
        model.graph.CopyFrom(raised.graph)
        del model.opset_import[:]
        model.opset_import.extend(raised.opset_import)

"""Models in memory, what becomes of them on ONNX Runtime, and the types in which they compute."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, shape_inference

from yais.engines import EngineOptions
from yais.engines.onnxruntime.session import session_options

Array = NDArray[Any]
Value = tuple[str, int, Sequence[int | str]]

FLOAT, FLOAT16, BFLOAT16, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT64


def graph(
    nodes: Sequence[NodeProto], inputs: Sequence[Value], outputs: Sequence[Value], **weights: Array
) -> GraphProto:
    return helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )


def model_of(made: GraphProto, opset: int = 17, **domains: int) -> ModelProto:
    """Underscores in the names of `domains` stand for dots."""
    opsets = [helper.make_opsetid(name.replace("_", "."), version) for name, version in domains.items()]
    return helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", opset), *opsets])


def run(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    options = session_options(EngineOptions())
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers: list[Array] = session.run(None, dict(feeds))
    return answers


def check(model: ModelProto) -> None:
    """Against ONNX's rules, those of operators' types included."""
    checker.check_model(model, full_check=True)


def types_of(model: ModelProto, operator: str) -> set[int]:
    """The types of what the nodes of one operator make."""
    made = shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*made.value_info, *made.output)}
    return {types[name] for node in made.node if node.op_type == operator for name in node.output}


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def weight(model: ModelProto, name: str) -> TensorProto:
    (found,) = (each for each in model.graph.initializer if each.name == name)
    return found


def rows(count: int, width: int) -> Array:
    return np.random.default_rng(count).standard_normal((count, width)).astype(np.float32)

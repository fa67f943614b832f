"""Small ONNX models, made when a test asks for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING

# A tensor's name, its type in TensorProto, and its dimensions: a name or None for a free one.
Value = tuple[str, int, Sequence[int | str | None]]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    max_batch_size: str | None = None,
    **constants: np.ndarray[Any, Any],
) -> Path:
    """Writes the model with an entry for its largest batch, if there is one."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    if max_batch_size is not None:
        helper.set_model_props(model, {"yais.max_batch_size": max_batch_size})
    onnx.save(model, path)
    return path


def identity(
    path: Path, elem_type: int = FLOAT, dims: Sequence[int | str | None] = ("N", 2), max_batch_size: str | None = None
) -> Path:
    """Y is X."""
    node = helper.make_node("Identity", ["X"], ["Y"])
    return save(path, [node], [("X", elem_type, dims)], [("Y", elem_type, dims)], max_batch_size)


def add(path: Path, dims: Sequence[int | str | None] = ("N", "L")) -> Path:
    """SUM is A + B, DIFF is A - B."""
    nodes = [helper.make_node("Add", ["A", "B"], ["SUM"]), helper.make_node("Sub", ["A", "B"], ["DIFF"])]
    inputs, outputs = [("A", FLOAT, dims), ("B", FLOAT, dims)], [("SUM", FLOAT, dims), ("DIFF", FLOAT, dims)]
    return save(path, nodes, inputs, outputs)


def look_up(path: Path, output: Sequence[int | str | None] = ("N", 1)) -> Path:
    """Y is the X-th of 10, 20 and 30; the run fails for any other X."""
    node = helper.make_node("Gather", ["table", "X"], ["Y"])
    table = np.array([10, 20, 30], np.float32)
    return save(path, [node], [("X", INT64, ["N", 1])], [("Y", FLOAT, output)], table=table)


def positives(path: Path) -> Path:
    """Y are the columns of X whose first row is positive, so that its shape depends on what X holds."""
    nodes = [
        helper.make_node("Gather", ["X", "zero"], ["first"], axis=0),
        helper.make_node("Greater", ["first", "nought"], ["keep"]),
        helper.make_node("Compress", ["X", "keep"], ["Y"], axis=1),
    ]
    constants = {"zero": np.array(0, np.int64), "nought": np.array(0, np.float32)}
    return save(path, nodes, [("X", FLOAT, ["N", 3])], [("Y", FLOAT, ["N", "K"])], **constants)


def non_zero(path: Path) -> Path:
    """Y are the positions at which X is not 0. No batch dimension."""
    node = helper.make_node("NonZero", ["X"], ["Y"])
    return save(path, [node], [("X", FLOAT, ["L"])], [("Y", INT64, [1, "K"])])


def sum_rows(path: Path) -> Path:
    """Y is the sum of all rows of X, one row however many there were."""
    node = helper.make_node("ReduceSum", ["X", "axis"], ["Y"], keepdims=1)
    return save(path, [node], [("X", FLOAT, ["N", 2])], [("Y", FLOAT, ["M", 2])], axis=np.array([0], np.int64))


def drop_rows(path: Path, width: int | str = 2) -> Path:
    """Y are the rows of X that begin with a positive number, although both seem to have a batch dimension."""
    nodes = [
        helper.make_node("Gather", ["X", "zero"], ["first"], axis=1),
        helper.make_node("Greater", ["first", "nought"], ["keep"]),
        helper.make_node("Compress", ["X", "keep"], ["Y"], axis=0),
    ]
    constants = {"zero": np.array(0, np.int64), "nought": np.array(0, np.float32)}
    return save(path, nodes, [("X", FLOAT, ["N", width])], [("Y", FLOAT, ["M", width])], **constants)


def cast(path: Path, source: int, target: int, dims: Sequence[int | str | None] = ("N", 2)) -> Path:
    """Y is X in another type."""
    node = helper.make_node("Cast", ["X"], ["Y"], to=target)
    return save(path, [node], [("X", source, dims)], [("Y", target, dims)])


def constant(path: Path) -> Path:
    """No inputs; Y is 1, 2, 3."""
    node = helper.make_node("Identity", ["values"], ["Y"])
    return save(path, [node], [], [("Y", FLOAT, ["K"])], values=np.array([1, 2, 3], np.float32))


def dictionaries(path: Path) -> Path:
    """Y is a dictionary for each row, as skl2onnx makes of a classifier's probabilities."""
    node = helper.make_node("ZipMap", ["X"], ["Y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    value = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, None))
    )
    graph = helper.make_graph(
        [node], "test", [helper.make_tensor_value_info("X", FLOAT, ["N", 2])], [helper.make_value_info("Y", value)]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opsets), path)
    return path


def sequence(path: Path) -> Path:
    """Y is a sequence of tensors, which no message can carry."""
    node = helper.make_node("SequenceConstruct", ["X"], ["Y"])
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("X", FLOAT, ["N"])],
        [helper.make_tensor_sequence_value_info("Y", FLOAT, ["N"])],
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path

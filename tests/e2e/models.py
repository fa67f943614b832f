"""Small ONNX models, each for one purpose of the tests."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

Dims = Sequence[int | str]

OPSET = 17
IR_VERSION = 8

# Datatypes of the protocol -> those of ONNX, without BYTES, which takes another way through the server.
NUMERIC = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
}


def numbers() -> onnx.ModelProto:
    """Gives back what it gets: one input, named like it, of each numeric datatype, and for each an output `OUT_…`."""
    tensors = [(name, kind, ("batch", name)) for name, kind in NUMERIC.items()]
    return _identities(tensors, "OUT_", largest_batch=8)


def strings() -> onnx.ModelProto:
    """Gives back BYTES of any number."""
    return _identities([("INPUT0", TensorProto.STRING, ("batch", "length"))], largest_batch=8, outputs=["OUTPUT0"])


def two() -> onnx.ModelProto:
    """Gives back two inputs of different datatypes, A as OUT_A and B as OUT_B."""
    tensors = [("A", TensorProto.INT32, ("batch", 4)), ("B", TensorProto.FLOAT16, ("batch", 4))]
    return _identities(tensors, "OUT_", largest_batch=8)


def mixed() -> onnx.ModelProto:
    """Gives back strings, and numbers beside them."""
    tensors = [("TEXT", TensorProto.STRING, ("batch", 2)), ("NUMBER", TensorProto.INT32, ("batch", 2))]
    return _identities(tensors, "OUT_", largest_batch=4)


def picky() -> onnx.ModelProto:
    """Looks up INDEX, 0 to 9, in a table of ten squares; any other index fails the run."""
    table = helper.make_tensor("table", TensorProto.INT64, [10], [number**2 for number in range(10)])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "INDEX"], ["SQUARE"])],
        "picky",
        [helper.make_tensor_value_info("INDEX", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("SQUARE", TensorProto.INT64, ["batch", 1])],
        [table],
    )
    return _model(graph, largest_batch=8)


def slow(largest_batch: int = 1) -> onnx.ModelProto:
    """Takes as many steps as the largest of STEPS says, about a microsecond each on one core, and gives STEPS back."""
    scalar = helper.make_tensor("zero", TensorProto.INT64, [], [0])
    nodes = [
        helper.make_node("ReduceMax", ["STEPS"], ["count"], keepdims=0),
        helper.make_node("Loop", ["count", "", "zero"], ["taken"], body=_step()),
        helper.make_node("Add", ["STEPS", "taken"], ["more"]),
        helper.make_node("Sub", ["more", "taken"], ["DONE"]),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("STEPS", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("DONE", TensorProto.INT64, ["batch", 1])],
        [scalar],
    )
    return _model(graph, largest_batch)


def slow_batches() -> onnx.ModelProto:
    """The same, in batches."""
    return slow(largest_batch=8)


def typed() -> onnx.ModelProto:
    """As `numbers`, for the datatypes that have typed contents."""
    names = NUMERIC.keys() - {"FP16", "BF16"}
    tensors = [(name, NUMERIC[name], ("batch", name)) for name in sorted(names)]
    return _identities(tensors, "OUT_", largest_batch=8)


def huge_row() -> onnx.ModelProto:
    """Its rows are so large that buffers for a large batch of them do not fit into any memory."""
    return _identities([("INPUT0", TensorProto.FLOAT, ("batch", 2**31 - 1))], "OUT_", largest_batch=65536)


def column_softmax() -> onnx.ModelProto:
    """A softmax over the first axis, which is therefore none of independent rows; the file does not say so."""
    return _columns("column_softmax", axis=0)


def row_softmax() -> onnx.ModelProto:
    """A softmax of each row; the file does not say that these are independent."""
    return _columns("row_softmax", axis=1)


def sequence() -> onnx.ModelProto:
    """Gives a sequence, which is no tensor."""
    graph = helper.make_graph(
        [helper.make_node("SplitToSequence", ["INPUT0"], ["OUTPUT0"])],
        "sequence",
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_sequence_value_info("OUTPUT0", TensorProto.FLOAT, None)],
    )
    return _model(graph)


ALL = {
    make.__name__: make
    for make in (
        numbers,
        typed,
        strings,
        two,
        mixed,
        picky,
        slow,
        slow_batches,
        huge_row,
        sequence,
        column_softmax,
        row_softmax,
    )
}


def save(name: str, folder: Path) -> Path:
    """Writes the model of that name, unless it is there already."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(ALL[name](), path)
    return path


def _columns(name: str, axis: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["INPUT0"], ["OUTPUT0"], axis=axis)],
        name,
        [helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["rows", 4])],
    )
    return _model(graph)


def _step() -> onnx.GraphProto:
    one = helper.make_tensor("one", TensorProto.INT64, [], [1])
    nodes = [
        helper.make_node("Identity", ["go_on"], ["goes_on"]),
        helper.make_node("Add", ["so_far", "one"], ["now"]),
    ]
    inputs = [("step", TensorProto.INT64), ("go_on", TensorProto.BOOL), ("so_far", TensorProto.INT64)]
    outputs = [("goes_on", TensorProto.BOOL), ("now", TensorProto.INT64)]
    return helper.make_graph(
        nodes,
        "step",
        [helper.make_tensor_value_info(name, kind, []) for name, kind in inputs],
        [helper.make_tensor_value_info(name, kind, []) for name, kind in outputs],
        [one],
    )


def _identities(
    tensors: Sequence[tuple[str, int, Dims]],
    prefix: str = "",
    largest_batch: int | None = None,
    outputs: Sequence[str] = (),
) -> onnx.ModelProto:
    outputs = outputs or [prefix + name for name, _, _ in tensors]
    pairs = list(zip(tensors, outputs, strict=True))
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [output]) for (name, _, _), output in pairs],
        "identities",
        [helper.make_tensor_value_info(*tensor) for tensor in tensors],
        [helper.make_tensor_value_info(output, kind, dims) for (_, kind, dims), output in pairs],
    )
    return _model(graph, largest_batch)


def _model(graph: onnx.GraphProto, largest_batch: int | None = None) -> onnx.ModelProto:
    """`largest_batch` is what the model declares, None for nothing."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    if largest_batch is not None:
        helper.set_model_props(model, {"yais.max_batch_size": str(largest_batch)})
    onnx.checker.check_model(model)
    return model

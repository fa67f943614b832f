from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from server.fake_engine import FakeEngine
from yais.engines import DeviceLostError, EngineOptions, open_engine
from yais.server.models.row_independence import find_dependence

FLOAT, FLOAT16, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64
BOOL, STRING = TensorProto.BOOL, TensorProto.STRING

node = helper.make_node
WEIGHTS = helper.make_tensor("weights", FLOAT, [16, 8], np.linspace(-1, 1, 128))
TABLE = helper.make_tensor("table", FLOAT, [10, 2], np.linspace(-1, 1, 20))
FILTER = helper.make_tensor("filter", FLOAT, [1, 1, 20, 20], np.linspace(-1, 1, 400))


@dataclass(frozen=True)
class Graph:
    """A model of X and Y, both of which have a free first dimension; `row` and `out` are their others."""

    nodes: Sequence[NodeProto]
    row: Sequence[int | str] = (16,)
    out: Sequence[int | str] = (16,)
    types: tuple[int, int] = (FLOAT, FLOAT)
    constants: Sequence[TensorProto] = ()

    def dependence(self, folder: Path) -> str | None:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("X", self.types[0], ["batch", *self.row])],
            [helper.make_tensor_value_info("Y", self.types[1], ["batch", *self.out])],
            self.constants,
        )
        path = folder / "graph.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return find_dependence(open_engine(path, EngineOptions(threads=1)))


INDEPENDENT = {
    "products": Graph([node("MatMul", ["X", "weights"], ["Y"])], out=(8,), constants=[WEIGHTS]),
    "a softmax of each row": Graph([node("Softmax", ["X"], ["Y"], axis=1)]),
    "half precision": Graph([node("Softmax", ["X"], ["Y"], axis=1)], types=(FLOAT16, FLOAT16)),
    "logarithms": Graph([node("Log", ["X"], ["Y"])], row=(1,), out=(1,)),
    "indices": Graph(
        [node("Gather", ["table", "X"], ["Y"])], row=(3,), out=(3, 2), types=(INT64, FLOAT), constants=[TABLE]
    ),
    "truth values": Graph([node("Not", ["X"], ["Y"])], types=(BOOL, BOOL)),
    "strings": Graph([node("Identity", ["X"], ["Y"])], types=(STRING, STRING)),
    "a free length": Graph([node("Softmax", ["X"], ["Y"], axis=1)], row=("length",), out=("length",)),
    "images of a size at least": Graph(
        [node("Conv", ["X", "filter"], ["Y"])], row=(1, "h", "w"), out=(1, "a", "b"), constants=[FILTER]
    ),
}


@pytest.mark.parametrize("graph", INDEPENDENT.values(), ids=INDEPENDENT)
def test_independent_rows_are_found_so(tmp_path: Path, graph: Graph) -> None:
    assert graph.dependence(tmp_path) is None


DEPENDENT = {
    "a softmax over all rows": [node("Softmax", ["X"], ["Y"], axis=0)],
    "the mean of all rows taken off": [node("ReduceMean", ["X"], ["m"], axes=[0]), node("Sub", ["X", "m"], ["Y"])],
    "a scale for all rows": [
        node("DynamicQuantizeLinear", ["X"], ["q", "scale", "zero"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["Y"]),
    ],
    "numbers drawn anew in each run": [node("RandomNormalLike", ["X"], ["Y"], dtype=FLOAT)],
}


@pytest.mark.parametrize("nodes", DEPENDENT.values(), ids=DEPENDENT)
def test_rows_that_depend_on_each_other_are_found(tmp_path: Path, nodes: list[NodeProto]) -> None:
    assert Graph(nodes).dependence(tmp_path) == "output 'Y' of a row changes with the rows beside it"


def test_nothing_is_shown_by_a_model_that_no_random_row_fits(tmp_path: Path) -> None:
    reshaped = helper.make_tensor("shape", INT64, [2], [-1, 1000])
    graph = Graph([node("Reshape", ["X", "shape"], ["Y"])], row=("n",), out=(1000,), constants=[reshaped])
    found = graph.dependence(tmp_path)
    assert found is not None
    assert found.startswith("random rows could not be run: ")


def test_nothing_is_shown_by_outputs_that_are_never_finite(tmp_path: Path) -> None:
    zero = helper.make_tensor("zero", FLOAT, [1], [0.0])
    nodes = [node("Mul", ["X", "zero"], ["nothing"]), node("Div", ["nothing", "nothing"], ["Y"])]
    assert Graph(nodes, constants=[zero]).dependence(tmp_path) == (
        "random rows could not be run: output 'Y' has no finite number"
    )


@pytest.mark.parametrize("largest", [0, 1])
def test_no_run_is_made_of_a_model_that_has_no_batches(largest: int) -> None:
    engine = FakeEngine(max_batch_size=largest)
    assert find_dependence(engine) is None
    assert engine.runs == []


def test_no_more_rows_are_run_than_a_batch_can_have() -> None:
    engine = FakeEngine(max_batch_size=2)
    assert find_dependence(engine) is None
    assert [run.rows for run in engine.runs] == [2, 1, 1]


def test_indices_stay_small_on_a_gpu_where_no_bounds_are_checked() -> None:
    engine = FakeEngine(device="cuda:0")
    assert find_dependence(engine) is None
    assert {value for run in engine.runs for value in run.values} == {0, 1}


def test_a_lost_device_is_not_a_property_of_the_model() -> None:
    def lose(rows: object) -> None:
        raise DeviceLostError("gone")

    with pytest.raises(DeviceLostError):
        find_dependence(FakeEngine(on_run=lose))

"""Plans whose inputs and outputs are of all shapes and types, on a simulated GPU and beside the CPU."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines import models
from yais.engines import Array, Context, Engine, EngineError, EngineOptions, InvalidInputError, Run, open_engine
from yais.engines.tensorrt.bindings import NO_BATCH

ILLEGAL_ADDRESS, OUT_OF_MEMORY = 700, 2
# What takes time or memory, and may happen only until memory is as large as it has to be.
COSTLY = ("alloc", "free", "register", "unregister", "create context", "create stream", "create event", "instantiate")
TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
}

# The least, best and largest shape of each input.
Profile = dict[str, Sequence[tuple[int, ...]]]
Numbers = partial(np.array, dtype=np.float32)


@dataclass
class Pair:
    """A plan, and the ONNX file that it was made of on the CPU. Arrays have the batch dimension, where there is one."""

    gpu: Engine
    cpu: Engine

    def __post_init__(self) -> None:
        self.contexts = self.gpu.create_context(), self.cpu.create_context()

    def run(self, **arrays: Array) -> Run:
        """Runs both, and sees that they give the same; what the plan's run took."""
        mine, expected = self.contexts
        took = run(self.gpu, mine, arrays)
        run(self.cpu, expected, arrays)
        self.compare(results(self.gpu, mine, arrays), results(self.cpu, expected, arrays))
        return took

    def compare(self, found: dict[str, Array], expected: dict[str, Array]) -> None:
        assert found.keys() == expected.keys() == {spec.name for spec in self.gpu.outputs}
        for spec in self.gpu.outputs:
            assert found[spec.name].dtype == spec.dtype == expected[spec.name].dtype
            np.testing.assert_array_equal(found[spec.name], expected[spec.name])


OpenBoth = Callable[..., Pair]


@pytest.fixture
def open_both(simulation: Any, tmp_path: Path) -> OpenBoth:
    """Opens a model on the CPU, and a plan of it with these profiles on the GPU."""

    def open_it(model: Path, *profiles: Profile, about: dict[str, Any] | None = None, **options: Any) -> Pair:
        plan = tmp_path / f"{model.stem}.engine"
        plan.write_bytes(simulation.make_plan(onnx.load(model), profiles, **about or {}))
        gpu = open_engine(plan, EngineOptions(**options))
        return Pair(gpu, open_engine(model, EngineOptions(max_batch_size=gpu.max_batch_size)))

    return open_it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def run(engine: Engine, context: Context, arrays: dict[str, Array]) -> Run:
    has_batch = bool(engine.max_batch_size)
    rows = rows_of(engine, arrays)
    context.fit(tuple(arrays[spec.name].shape[has_batch:] for spec in engine.inputs))
    for name, array in arrays.items():
        context.inputs[name][:rows] = array if has_batch else array[None]
    return context.execute(rows)


def results(engine: Engine, context: Context, arrays: dict[str, Array]) -> dict[str, Array]:
    rows = rows_of(engine, arrays)
    return {name: array[:rows] if engine.max_batch_size else array[0] for name, array in context.outputs.items()}


def rows_of(engine: Engine, arrays: dict[str, Array]) -> int:
    return len(next(iter(arrays.values()))) if engine.max_batch_size else 1


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def calls_of(simulation: Any, work: Callable[[], object], *names: str) -> list[tuple[Any, ...]]:
    """Which of these the GPU is asked for meanwhile."""
    simulation.machine().calls.clear()
    work()
    return list(simulation.machine().named(*names))


def node(kind: str, inputs: Sequence[str], output: str = "Y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def twice(path: Path) -> Path:
    """Y are the rows of X, and once more."""
    ends = [("X", models.FLOAT, ["N", 2])], [("Y", models.FLOAT, ["M", 2])]
    return models.save(path, [node("Concat", ["X", "X"], axis=0)], *ends)


def first_four(path: Path) -> Path:
    """Y are the first rows of X, four at most."""
    ends = [("X", models.FLOAT, ["N", 2])], [("Y", models.FLOAT, ["M", 2])]
    bounds = {"from": np.array([0]), "to": np.array([4])}
    return models.save(path, [node("Slice", ["X", "from", "to"])], *ends, **bounds)


def two_of_each(path: Path) -> Path:
    """No batch: TOTAL, a scalar, is the sum of X, and PICKED are the columns of X that I names."""
    nodes = [node("ReduceSum", ["X"], "TOTAL", keepdims=0), node("Gather", ["X", "I"], "PICKED", axis=1)]
    inputs = [("X", models.FLOAT, [2, "L"]), ("I", models.INT64, ["K"])]
    return models.save(path, nodes, inputs, [("TOTAL", models.FLOAT, []), ("PICKED", models.FLOAT, [2, "K"])])


def both(low: Sequence[int], high: Sequence[int]) -> Profile:
    """A profile in which A and B have the same bounds."""
    return {name: (tuple(low), tuple(high), tuple(high)) for name in "AB"}


def only(low: Sequence[int], high: Sequence[int]) -> Profile:
    return {"X": (tuple(low), tuple(high), tuple(high))}


# Up to 8 rows of up to 16 numbers, and up to 2 rows of more of them.
SHORT, LONG = both((1, 1), (8, 16)), both((1, 17), (2, 64))


def test_rows_of_several_shapes_are_run_in_turn(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(models.add(path), SHORT)
    for seed, shape in enumerate([(1, 1), (8, 16), (3, 5), (8, 16), (2, 16), (1, 1), (5, 3)]):
        took = pair.run(A=numbers(*shape, seed=seed), B=numbers(*shape, seed=99))
        assert took.padding == 0


def test_shapes_choose_the_profile(open_both: OpenBoth, path: Path, simulation: Any) -> None:
    pair = open_both(models.add(path), SHORT, LONG)
    shapes = [(8, 16), (2, 64), (2, 16), (1, 17), (8, 1)]
    arrays = [numbers(*shape) for shape in shapes]
    executed = calls_of(simulation, lambda: [pair.run(A=each, B=each) for each in arrays], "execute")
    assert [call[3] for call in executed] == shapes
    used = [call[2] for call in executed]
    assert used[0] == used[2] == used[4] != used[1] == used[3]


def test_a_batch_below_the_least_of_its_profile_is_filled_up(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(models.add(path), both((4, 1), (8, 16)))
    assert [pair.run(A=numbers(rows, 3), B=numbers(rows, 3)).padding for rows in (1, 4, 3, 5)] == [3, 0, 1, 0]


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        (65, 65, r"^input 'A': shape \[65\] is not from \[1\] to \[16\] or from \[17\] to \[64\]$"),
        (0, 16, r"^input 'A': shape \[0\] is not from "),
        (16, 65, r"^input 'B': shape \[65\] is not from "),
        (16, 17, r"^no profile of the plan takes inputs of the shapes \[\[16\], \[17\]\] together$"),
    ],
)
def test_shapes_that_no_profile_takes_are_told(open_both: OpenBoth, path: Path, a: int, b: int, text: str) -> None:
    pair = open_both(models.add(path), SHORT, LONG)
    pair.run(A=numbers(2, 5), B=numbers(2, 5))
    with pytest.raises(InvalidInputError, match=text):
        pair.contexts[0].fit(((a,), (b,)))
    pair.run(A=numbers(2, 5), B=numbers(2, 5))


def test_more_rows_than_a_profile_takes_of_their_shape_never_reach_the_gpu(
    open_both: OpenBoth, path: Path, simulation: Any
) -> None:
    pair = open_both(models.add(path), SHORT, LONG)
    context = pair.contexts[0]
    context.fit(((32,), (32,)))

    def run_too_many() -> None:
        with pytest.raises(
            InvalidInputError, match=r"^no profile of the plan takes 3 rows of the shapes \[\[32\], \[32\]\]$"
        ):
            context.execute(3)

    assert calls_of(simulation, run_too_many, "htod", "execute", "record") == []
    pair.run(A=numbers(2, 32), B=numbers(2, 32))


@pytest.mark.parametrize("rows", ["N", 4])
def test_runs_are_not_recorded_where_shapes_vary(
    open_both: OpenBoth, path: Path, simulation: Any, caplog: pytest.LogCaptureFixture, rows: int | str
) -> None:
    open_both(models.add(path, (rows, "L")), both((4, 1), (4, 16))).run(A=numbers(4, 3), B=numbers(4, 3))
    assert simulation.machine().named("begin capture", "instantiate") == []
    assert caplog.text == ""


def test_runs_are_not_recorded_where_the_data_decide_a_shape(
    open_both: OpenBoth, path: Path, simulation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    open_both(models.positives(path), only((1, 3), (8, 3))).run(X=numbers(4, 3))
    assert simulation.machine().named("begin capture", "instantiate") == []
    assert caplog.text == ""


def test_memory_grows_to_what_a_whole_batch_needs_and_then_stays(
    open_both: OpenBoth, path: Path, simulation: Any
) -> None:
    """A context's buffers hold as many rows as its largest batch, be it one that no profile takes of that shape."""
    pair = open_both(models.add(path), SHORT, LONG)
    shapes = [(2, 64), (8, 16), (1, 17), (2, 64), (1, 1)]
    arrays = [numbers(*shape) for shape in shapes]

    def run_all() -> None:
        for each in arrays:
            pair.run(A=each, B=each)

    assert calls_of(simulation, run_all, "register") != []
    assert pair.contexts[0].inputs["A"].shape == (8, 1)
    assert calls_of(simulation, run_all, *COSTLY) == []


def test_what_a_request_decides_of_an_output_grows_and_shrinks_with_it(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))})
    assert (pair.gpu.max_batch_size, pair.gpu.outputs[0].shape) == (0, (1, -1))
    for count in (1, 3, 0, 100, 2, 0, 7):
        pair.run(X=np.where(np.arange(100) % 100 < count, 1, 0).astype(np.float32))


def test_columns_that_the_data_decide_leave_the_rows_their_batch(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(models.positives(path), only((1, 3), (8, 3)))
    assert (pair.gpu.max_batch_size, pair.gpu.outputs[0].shape) == (8, (-1,))
    for first in ([1, -1, 2], [-1, -1, -1], [1, 1, 1], [-1, 5, -1]):
        for others in (0, 1, 7):
            pair.run(X=np.concatenate([Numbers([first]), numbers(others, 3)]))


def test_memory_for_outputs_grows_with_them_until_it_is_enough(
    open_both: OpenBoth, path: Path, simulation: Any
) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))})
    smaller, larger = np.eye(1, 100, dtype=np.float32)[0], np.ones(100, np.float32)
    pair.run(X=smaller)
    grown = calls_of(simulation, lambda: pair.run(X=larger), "alloc", "free")
    assert [call[0] for call in grown] == ["alloc", "free"]
    assert calls_of(simulation, lambda: [pair.run(X=each) for each in (smaller, larger, larger)], *COSTLY) == []


def test_an_output_for_which_there_is_no_memory_fails_one_run(open_both: OpenBoth, path: Path, simulation: Any) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))})
    pair.run(X=numbers(3))
    simulation.fail("cuMemAlloc", OUT_OF_MEMORY)
    with pytest.raises(EngineError, match=r"no memory on GPU 0 for 0\.0 MiB: .* fewer --contexts"):
        run(pair.gpu, pair.contexts[0], {"X": numbers(100)})
    pair.run(X=numbers(4))
    pair.run(X=numbers(100))
    assert not simulation.machine().named("reset")


@pytest.mark.parametrize("width", [2, "W"])
def test_a_plan_whose_rows_the_data_decide_is_served_without_batches(
    open_both: OpenBoth, path: Path, caplog: pytest.LogCaptureFixture, width: int | str
) -> None:
    with caplog.at_level(logging.INFO, "yais.engines.tensorrt"):
        pair = open_both(models.drop_rows(path, width), only((1, 2), (8, 2)))
    assert "The plan is served without batches: the data decide how many rows 'Y' has" in caplog.text
    assert (pair.gpu.max_batch_size, pair.gpu.outputs[0].shape[0]) == (0, -1)
    for rows in ([[1, 2], [-1, 3], [4, 5]], [[-1, 2]], [[1, 2]], [[-1, 1]] * 8):
        pair.run(X=Numbers(rows))


@pytest.mark.parametrize("graphs", [True, False])
def test_an_output_with_other_rows_than_the_batch_fails_that_run(
    open_both: OpenBoth, path: Path, simulation: Any, graphs: bool
) -> None:
    pair = open_both(first_four(path), only((1, 2), (8, 2)), graphs=graphs)
    assert pair.gpu.max_batch_size == 8
    pair.run(X=numbers(4, 2))
    with pytest.raises(EngineError, match=r"^output 'Y' has shape \[4, 2\] for a batch of 5 rows$"):
        run(pair.gpu, pair.contexts[0], {"X": numbers(5, 2)})
    pair.run(X=numbers(3, 2, seed=1))


def test_an_output_that_is_larger_than_the_batch_is_not_computed(
    open_both: OpenBoth, path: Path, simulation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """There is only memory for the batch."""
    pair = open_both(twice(path), only((1, 2), (8, 2)))
    assert "Runs are not recorded as CUDA graphs: output 'Y' has shape [2, 2] for a batch of 1 rows" in caplog.text
    with pytest.raises(EngineError, match=r"^output 'Y' has shape \[6, 2\] for a batch of 3 rows$"):
        run(pair.gpu, pair.contexts[0], {"X": numbers(3, 2)})
    assert simulation.machine().named("execute") == []


def test_several_inputs_and_outputs_without_a_batch(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(two_of_each(path), {"X": ((2, 1), (2, 4), (2, 9)), "I": ((0,), (2,), (20,))})
    assert pair.gpu.max_batch_size == 0
    for width, picked in ((4, [3, 0]), (9, [8] * 20), (1, [0]), (5, [])):
        pair.run(X=numbers(2, width), I=np.array(picked, np.int64))


def test_scalars(open_both: OpenBoth, path: Path, simulation: Any) -> None:
    pair = open_both(models.identity(path, dims=()))
    assert pair.gpu.inputs[0].shape == pair.gpu.outputs[0].shape == ()
    pair.run(X=Numbers(3))
    pair.run(X=Numbers(-4))
    assert simulation.machine().named("launch")


def test_rows_of_nothing(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(models.add(path), both((1, 0), (8, 16)))
    for shape in ((3, 0), (3, 2), (8, 0)):
        pair.run(A=numbers(*shape), B=numbers(*shape))


def test_a_plan_without_inputs_gives_what_it_always_gives(open_both: OpenBoth, path: Path) -> None:
    open_both(models.constant(path)).run()


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_plan_says_in_its_name_that_its_first_dimension_is_no_batch(
    open_both: OpenBoth, path: Path, is_marked: bool
) -> None:
    name = f"identity{NO_BATCH if is_marked else ''}"
    pair = open_both(models.identity(path), only((1, 2), (16, 2)), about={"name": name})
    assert (pair.gpu.max_batch_size, pair.gpu.inputs[0].shape) == ((0, (-1, 2)) if is_marked else (16, (2,)))
    for rows in (1, 16, 5):
        pair.run(X=numbers(rows, 2))


@pytest.mark.parametrize("has_batch", [True, False])
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: TensorProto.DataType.Name(kind))
def test_every_type_that_tensorrt_has_goes_in_and_out(
    open_both: OpenBoth, path: Path, kind: int, has_batch: bool
) -> None:
    dims, profiles = (("N", 3), [only((1, 3), (4, 3))]) if has_batch else ((2, 3), [])
    pair = open_both(models.identity(path, kind, dims), *profiles)
    assert pair.gpu.inputs[0].dtype == pair.gpu.outputs[0].dtype == TYPES[kind]
    array = np.random.default_rng(kind).integers(0, 2 if kind == TensorProto.BOOL else 100, (2, 3)).astype(TYPES[kind])
    pair.run(X=array)
    np.testing.assert_array_equal(results(pair.gpu, pair.contexts[0], {"X": array})["Y"], array)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (TensorProto.FLOAT, TensorProto.BFLOAT16),
        (TensorProto.UINT8, TensorProto.FLOAT16),
        (TensorProto.INT64, TensorProto.INT8),
        (TensorProto.FLOAT, TensorProto.BOOL),
    ],
    ids=["FLOAT to BFLOAT16", "UINT8 to FLOAT16", "INT64 to INT8", "FLOAT to BOOL"],
)
def test_rows_of_one_type_become_rows_of_another(open_both: OpenBoth, path: Path, source: int, target: int) -> None:
    """Their rows are of different sizes."""
    pair = open_both(models.cast(path, source, target), only((1, 2), (8, 2)))
    for rows in (8, 1, 3):
        pair.run(X=np.arange(2 * rows).reshape(rows, 2).astype(TYPES[source]))


@pytest.mark.parametrize(("least", "graphs"), [(1, True), (4, False)], ids=["graphs", "filled up"])
def test_models_that_take_only_some_numbers_can_do_with_rows_that_nobody_wrote(
    open_both: OpenBoth, path: Path, caplog: pytest.LogCaptureFixture, least: int, graphs: bool
) -> None:
    pair = open_both(models.look_up(path), only((least, 1), (8, 1)), graphs=graphs)
    assert caplog.text == ""
    pair.run(X=np.array([[2]]))
    pair.run(X=np.array([[1], [2], [0]]))


def test_after_a_sticky_error_shapes_are_as_they_were(open_both: OpenBoth, path: Path, simulation: Any) -> None:
    pair = open_both(models.add(path), SHORT, LONG)
    arrays = {"A": numbers(2, 40), "B": numbers(2, 40)}
    pair.run(**arrays)
    simulation.fail("execute", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="its context was made anew"):
        run(pair.gpu, pair.contexts[0], arrays)
    pair.run(**arrays)
    pair.run(A=numbers(2, 50), B=numbers(2, 50))


@pytest.mark.parametrize("workspaces", [1, 3])
def test_runs_at_the_same_time_each_have_an_output_of_their_own_size(
    open_both: OpenBoth, path: Path, workspaces: int
) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))}, contexts=3, workspaces=workspaces)
    barrier, failures = Barrier(4), list[BaseException]()

    def work(number: int) -> None:
        each = Pair(pair.gpu, pair.cpu)
        barrier.wait(30)
        try:
            for turn in range(12):
                each.run(X=(numbers(1 + (17 * number + 31 * turn) % 100, seed=turn) > 0).astype(np.float32))
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []

"""Plans whose inputs and outputs are of all shapes and types, on a simulated GPU and beside the CPU."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from engines.tensorrt.pairs import (
    COSTLY,
    ILLEGAL_ADDRESS,
    LONG,
    SHORT,
    Numbers,
    OpenBoth,
    both,
    calls_of,
    node,
    numbers,
    only,
    results,
    run,
)
from onnx import TensorProto

from engines import models
from yais.engines import EngineError, InvalidInputError
from yais.engines.tensorrt.bindings import DECLARED_BATCH, NO_BATCH

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


def two_of_each(path: Path) -> Path:
    """No batch: TOTAL, a scalar, is the sum of X, and PICKED are the columns of X that I names."""
    nodes = [node("ReduceSum", ["X"], "TOTAL", keepdims=0), node("Gather", ["X", "I"], "PICKED", axis=1)]
    inputs = [("X", models.FLOAT, [2, "L"]), ("I", models.INT64, ["K"])]
    return models.save(path, nodes, inputs, [("TOTAL", models.FLOAT, []), ("PICKED", models.FLOAT, [2, "K"])])


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


@pytest.mark.parametrize(("name", "declares"), [("identity", False), (f"identity{DECLARED_BATCH}", True)])
def test_a_plan_says_in_its_name_that_its_model_declares_batches(
    open_both: OpenBoth, path: Path, name: str, declares: bool
) -> None:
    pair = open_both(models.identity(path), only((1, 2), (16, 2)), about={"name": name})
    assert (pair.gpu.max_batch_size, pair.gpu.declares_batch) == (16, declares)


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

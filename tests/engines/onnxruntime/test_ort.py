import gc
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from engines import models
from yais.engines import Array, Context, Engine, EngineError, EngineOptions, InvalidInputError, open_engine
from yais.engines.onnxruntime.cpu import OrtContext, StringContext
from yais.proto.tensors import DTYPES

Rows = Sequence[Sequence[float]]
ELEM_TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
} | {f"{sign}INT{bits}": getattr(TensorProto, f"{sign}INT{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)}


def run(context: Context, **inputs: Array) -> dict[str, Array]:
    """Runs rows, and gives those of the outputs; all arrays have rows as their first axis."""
    rows = len(next(iter(inputs.values())))
    context.fit(tuple(array.shape[1:] for array in inputs.values()))
    for name, array in inputs.items():
        context.inputs[name][:rows] = array
    assert context.execute(rows).infer_ns > 0
    return {name: array[:rows].copy() for name, array in context.outputs.items()}


def floats(*rows: Sequence[float]) -> Array:
    return np.array(rows, np.float32)


def context(path: Path, max_batch_size: int | None = None) -> Context:
    return open_engine(path, EngineOptions(threads=1, max_batch_size=max_batch_size)).create_context()


def sample(datatype: str, rows: int) -> Array:
    array = np.arange(1, 2 * rows + 1).reshape(rows, 2).astype(DTYPES[datatype])
    if datatype == "BYTES":
        array.ravel()[:] = [f"é{number}".encode() if number % 3 else b"" for number in range(2 * rows)]
    return array


def test_every_datatype_of_the_protocol_is_tried_here() -> None:
    assert ELEM_TYPES.keys() == DTYPES.keys()


@pytest.mark.parametrize("dims", [("N", 2), ("N", "L")], ids=["fixed", "free"])
@pytest.mark.parametrize("datatype", ELEM_TYPES)
def test_every_datatype_goes_in_and_comes_out(tmp_path: Path, datatype: str, dims: Sequence[int | str]) -> None:
    engine = open_engine(models.identity(tmp_path / "m.onnx", ELEM_TYPES[datatype], dims), EngineOptions(threads=1))
    assert engine.inputs[0].dtype == engine.outputs[0].dtype == DTYPES[datatype]
    used = engine.create_context()
    for rows in (3, 1, 0, 8, 3):
        values = sample(datatype, rows)
        np.testing.assert_array_equal(run(used, X=values)["Y"], values, strict=True)


@pytest.mark.parametrize("datatype", ELEM_TYPES)
def test_every_datatype_works_without_a_batch_dimension(tmp_path: Path, datatype: str) -> None:
    used = context(models.identity(tmp_path / "m.onnx", ELEM_TYPES[datatype], dims=(2,)))
    for _ in range(2):
        values = sample(datatype, 1)
        np.testing.assert_array_equal(run(used, X=values)["Y"], values, strict=True)


def test_a_scalar_is_a_row(tmp_path: Path) -> None:
    used = context(models.identity(tmp_path / "m.onnx", dims=()))
    assert run(used, X=np.array([2.5], np.float32))["Y"].tolist() == [2.5]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-45])
def test_unusual_numbers_pass_through(tmp_path: Path, value: float) -> None:
    values = floats([value, 1])
    result = run(context(models.identity(tmp_path / "m.onnx")), X=values)["Y"]
    assert result.tobytes() == values.tobytes()


def test_rows_beyond_those_that_are_run_are_left_alone(tmp_path: Path) -> None:
    used = context(models.identity(tmp_path / "m.onnx"), max_batch_size=4)
    run(used, X=floats([1, 2], [3, 4], [5, 6], [7, 8]))
    run(used, X=floats([9, 9]))
    assert used.outputs["Y"].tolist() == [[9, 9], [3, 4], [5, 6], [7, 8]]


def test_buffers_have_room_for_the_largest_batch(tmp_path: Path) -> None:
    used = context(models.identity(tmp_path / "m.onnx", dims=("N", 2)), max_batch_size=5)
    assert used.inputs["X"].shape == (5, 2)
    single = context(models.identity(tmp_path / "m.onnx", dims=(2,)))
    assert single.inputs["X"].shape == (1, 2)


def test_a_context_is_fitted_to_free_dimensions_and_refitted(tmp_path: Path) -> None:
    used = context(models.add(tmp_path / "m.onnx"))
    for rows, width in ((1, 3), (2, 3), (2, 5), (1, 3), (0, 3), (2, 0), (2, 1)):
        first, second = np.full((rows, width), 5, np.float32), np.full((rows, width), 2, np.float32)
        result = run(used, A=first, B=second)
        np.testing.assert_array_equal(result["SUM"], np.full((rows, width), 7, np.float32), strict=True)
        np.testing.assert_array_equal(result["DIFF"], np.full((rows, width), 3, np.float32), strict=True)


def test_fitting_the_same_shapes_keeps_the_buffers(tmp_path: Path) -> None:
    used = context(models.add(tmp_path / "m.onnx"))
    used.fit(((3,), (3,)))
    before = used.inputs["A"]
    used.fit(((3,), (3,)))
    assert used.inputs["A"] is before
    used.fit(((2,), (2,)))
    assert used.inputs["A"] is not before


def test_a_fit_that_failed_is_not_taken_for_one_that_was_made(tmp_path: Path) -> None:
    used = context(models.identity(tmp_path / "m.onnx", dims=("N", "L")))
    run(used, X=floats([1, 2]))
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="no memory"):
            used.fit(((2**50,),))
    assert run(used, X=floats([3, 4]))["Y"].tolist() == [[3, 4]]


def test_inputs_of_shapes_that_do_not_go_together_fail_and_the_context_can_be_used_again(tmp_path: Path) -> None:
    used = context(models.add(tmp_path / "m.onnx"))
    with pytest.raises(EngineError, match="3"):
        run(used, A=floats([1, 2]), B=floats([1, 2, 3]))
    assert run(used, A=floats([1, 2]), B=floats([1, 2]))["SUM"].tolist() == [[2, 4]]


@pytest.mark.parametrize("output", [("N", 1), ("N", "K")], ids=["fixed", "free"])
def test_a_run_that_fails_leaves_the_context_usable(tmp_path: Path, output: Sequence[int | str]) -> None:
    used = context(models.look_up(tmp_path / "m.onnx", output))
    for _ in range(2):
        assert run(used, X=np.array([[0], [2]]))["Y"].tolist() == [[10], [30]]
        with pytest.raises(EngineError, match="out of"):
            run(used, X=np.array([[0], [3]]))
        assert run(used, X=np.array([[1], [1]]))["Y"].tolist() == [[20], [20]]


def test_outputs_whose_shape_depends_on_what_the_inputs_hold(tmp_path: Path) -> None:
    used = context(models.positives(tmp_path / "m.onnx"))
    cases: list[tuple[Rows, Rows]] = [
        ([[1, 1, 1], [4, 5, 6]], [[1, 1, 1], [4, 5, 6]]),
        ([[1, 1, 1], [7, 8, 9]], [[1, 1, 1], [7, 8, 9]]),
        ([[1, -1, 1], [4, 5, 6]], [[1, 1], [4, 6]]),
        ([[-1, -1, -1]], [[]]),
        ([[-1, 3, -1]], [[3]]),
        ([[1, 1, 1]], [[1, 1, 1]]),
    ]
    for rows, want in cases:
        np.testing.assert_array_equal(run(used, X=floats(*rows))["Y"], floats(*want), strict=True)


def test_outputs_of_unknown_length_without_a_batch_dimension(tmp_path: Path) -> None:
    used = context(models.non_zero(tmp_path / "m.onnx"))
    for row in ([0, 1, 2], [1, 1, 2], [0, 0, 0], [5, 0, 0], []):
        result = run(used, X=floats(row))["Y"]
        assert result.shape == (1, 1, np.count_nonzero(row))
        assert result[0, 0].tolist() == np.flatnonzero(row).tolist()


def test_outputs_of_free_shape_outlive_the_memory_that_they_were_made_in(tmp_path: Path) -> None:
    used = context(models.identity(tmp_path / "m.onnx", dims=("N", "L")))
    width = 100_000
    used.fit(((width,),))
    used.inputs["X"][:] = 7
    used.execute(2)
    held = used.outputs["Y"][:2]
    others = [context(models.identity(tmp_path / "o.onnx", dims=("N", "L"))) for _ in range(3)]
    gc.collect()
    for other in others:
        run(other, X=np.ones((2, width), np.float32))
    assert (held == 7).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=25)
def test_any_sequence_of_shapes_gives_each_its_own_results(add_engine: Engine, sizes: list[tuple[int, int]]) -> None:
    used = add_engine.create_context()
    for number, (rows, width) in enumerate(sizes):
        first = np.arange(rows * width, dtype=np.float32).reshape(rows, width) + number
        result = run(used, A=first, B=2 * first)
        np.testing.assert_array_equal(result["SUM"], 3 * first, strict=True)
        np.testing.assert_array_equal(result["DIFF"], -first, strict=True)


@pytest.fixture(scope="module")
def add_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = models.add(tmp_path_factory.mktemp("models") / "add.onnx")
    return open_engine(path, EngineOptions(threads=1, max_batch_size=4))


@pytest.mark.parametrize("width", [2, "L"], ids=["fixed", "free"])
def test_a_model_that_does_not_keep_its_rows_is_found_out(tmp_path: Path, width: int | str) -> None:
    used = context(models.drop_rows(tmp_path / "m.onnx", width))
    assert run(used, X=floats([1, 2], [3, 4]))["Y"].tolist() == [[1, 2], [3, 4]]
    for _ in range(2):
        with pytest.raises(EngineError):
            run(used, X=floats([1, 2], [-3, 4]))
    assert run(used, X=floats([5, 6], [7, 8]))["Y"].tolist() == [[5, 6], [7, 8]]


def test_the_first_run_of_a_model_that_does_not_keep_its_rows_is_found_out(tmp_path: Path) -> None:
    used = context(models.drop_rows(tmp_path / "m.onnx", "L"))
    with pytest.raises(EngineError, match=r"^output 'Y' has shape \[1, 2\] for a batch of 2 rows$"):
        run(used, X=floats([1, 2], [-3, 4]))


def test_strings_need_a_context_of_their_own_kind(tmp_path: Path) -> None:
    assert isinstance(context(models.identity(tmp_path / "m.onnx")), OrtContext)
    for source, target in ((models.STRING, models.FLOAT), (models.FLOAT, models.STRING)):
        assert isinstance(context(models.cast(tmp_path / "m.onnx", source, target)), StringContext)


def strings(*rows: Sequence[bytes]) -> Array:
    array = np.empty((len(rows), len(rows[0])), np.object_)
    array[:] = rows
    return array


def test_strings_become_numbers_and_numbers_strings(tmp_path: Path) -> None:
    to_numbers = context(models.cast(tmp_path / "m.onnx", models.STRING, models.FLOAT))
    assert run(to_numbers, X=strings([b"1.5", b"-2"]))["Y"].tolist() == [[1.5, -2]]
    to_strings = context(models.cast(tmp_path / "m.onnx", models.INT64, models.STRING))
    assert run(to_strings, X=np.array([[1, -20]]))["Y"].tolist() == [[b"1", b"-20"]]


def test_bytes_that_are_no_text_are_the_requests_own_fault(tmp_path: Path) -> None:
    used = context(models.identity(tmp_path / "m.onnx", models.STRING))
    with pytest.raises(InvalidInputError, match=r"^input 'X' has an element that is not UTF-8: .*0xff"):
        run(used, X=strings([b"fine", b"\xff\xfe"]))
    assert run(used, X=strings([b"fine", b"too"]))["Y"].tolist() == [[b"fine", b"too"]]


def test_a_string_run_that_fails_leaves_the_context_usable(tmp_path: Path) -> None:
    used = context(models.cast(tmp_path / "m.onnx", models.STRING, models.FLOAT))
    with pytest.raises(EngineError) as caught:
        run(used, X=strings([b"1", b"x"]))
    assert not isinstance(caught.value, InvalidInputError)
    assert run(used, X=strings([b"1", b"2"]))["Y"].tolist() == [[1, 2]]


def test_a_model_without_inputs_can_be_run(tmp_path: Path) -> None:
    used = context(models.constant(tmp_path / "m.onnx"))
    used.fit(())
    used.execute(1)
    assert used.outputs["Y"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("contexts", [2, 5])
def test_contexts_of_one_engine_run_at_the_same_time_without_mixing(tmp_path: Path, contexts: int) -> None:
    engine = open_engine(models.add(tmp_path / "m.onnx"), EngineOptions(threads=1))
    start, wrong = threading.Barrier(contexts), []

    def work(number: int) -> None:
        used, values = engine.create_context(), np.full((4, 64), number, np.float32)
        start.wait(30)
        for _ in range(50):
            result = run(used, A=values, B=values)
            if not (result["SUM"] == 2 * number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(contexts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_whether_usage_is_reported_is_decided_before_the_runtime_is_loaded() -> None:
    assert "ORT_DISABLE_TELEMETRY" in os.environ


def test_the_elapsed_time_is_in_nanoseconds(tmp_path: Path) -> None:
    used: Any = context(models.identity(tmp_path / "m.onnx"))
    assert 0 < used.execute(1).infer_ns < 10**10

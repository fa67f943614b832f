"""A picture as the input of an image classifier, as the clients make it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from yais.engines.zoo import BuildError

Array = NDArray[Any]
Scaling = Literal["lite", "inception", "imagenet", "unit", "none"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
SIDE = 224
_MARGIN = 256 / 224
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

SCALINGS: dict[Scaling, Callable[[Array], Array]] = {
    "lite": lambda x: (x - 127) / 128,
    "inception": lambda x: x / 127.5 - 1,
    "imagenet": lambda x: (x / 255 - _MEAN) / _DEVIATION,
    "unit": lambda x: x / 255,
    "none": lambda x: x,
}


def fit(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], scaling: Scaling) -> Array | None:
    """One row for an input of FP32 [., 3, H, W] or UINT8 [., H, W, 3]; None for an input that takes no picture.

    A free side is 224.
    """
    sides = tuple(SIDE if dimension == -1 else dimension for dimension in shape[-3:])
    match dtype.name, sides:
        case _ if len(shape) not in (3, 4):
            return None
        case "float32", (3, int(height), int(width)):
            scaled = SCALINGS[scaling](_crop(path, height, width).astype(np.float32))
            return np.ascontiguousarray(scaled.transpose(2, 0, 1))
        case "uint8", (int(height), int(width), 3):
            return _crop(path, height, width)
    return None


def _crop(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The middle of the picture, 224/256 of it, as `(height, width, 3)` RGB pixels."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise BuildError("the package pillow is missing: pip install 'yais[picture]'") from error
    try:
        with Image.open(path) as image:
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BuildError(f"{path} cannot be read as a picture: {error}") from error
    scale = _MARGIN * max(height / picture.height, width / picture.width)
    size = round(picture.width * scale), round(picture.height * scale)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height)))

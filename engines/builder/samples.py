"""What a model is calibrated on: a folder of pictures, or of arrays in .npy and .npz files, as the model takes them."""

import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, helper

from yais.engines.builder import pictures
from yais.engines.builder.pictures import Scaling
from yais.engines.zoo import BuildError

logger = logging.getLogger("yais.engines.builder")

Array = NDArray[Any]
Feeds = Mapping[str, Array]

_ARRAYS = (".npy", ".npz")


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a model; in `shape`, -1 stands for any size."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def batch(self, array: Array, path: Path) -> Array:
        """`array` as the model takes it: a row without the batch dimension is repeated to fill a batch."""
        if not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise BuildError(f"{path}: input '{self.name}' takes {self.dtype.name}, not {array.dtype.name}")
        if array.ndim == len(self.shape) - 1:
            array = np.broadcast_to(array, (abs(self.shape[0]), *array.shape))
        if array.ndim != len(self.shape) or any(
            want not in (-1, have) for want, have in zip(self.shape, array.shape, strict=True)
        ):
            raise BuildError(f"{path}: input '{self.name}' has shape {list(self.shape)}, not {list(array.shape)}")
        return array.astype(self.dtype)


def inputs_of(model: ModelProto) -> tuple[Input, ...]:
    weights = {weight.name for weight in model.graph.initializer}
    return tuple(_input(value) for value in model.graph.input if value.name not in weights)


def find_samples(folder: Path, count: int) -> list[Path]:
    """`count` files, evenly spread over the folder and those in it, or all when there are no more.

    Raises `BuildError` for a folder that is none, or has none.
    """
    if not folder.is_dir():
        raise BuildError(f"calibration: {folder} is not a folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (*pictures.SUFFIXES, *_ARRAYS))
    if not found:
        raise BuildError(f"calibration: {folder} has no pictures ({', '.join(pictures.SUFFIXES)}), nor .npy or .npz")
    if len(found) < count:
        logger.warning("Calibration: %s has %d of the %d samples asked for", folder, len(found), count)
    wanted = min(count, len(found))
    return [found[index * len(found) // wanted] for index in range(wanted)]


def read_samples(paths: Sequence[Path], inputs: Sequence[Input], scaling: Scaling) -> Iterator[Feeds]:
    """What the model is run on for each file. Raises `BuildError` that names a file which does not fit."""
    for path in paths:
        arrays = _arrays(path, inputs) if path.suffix.lower() in _ARRAYS else _picture(path, inputs, scaling)
        yield {each.name: each.batch(arrays[each.name], path) for each in inputs}


def _input(value: ValueInfoProto) -> Input:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    return Input(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape)


def _picture(path: Path, inputs: Sequence[Input], scaling: Scaling) -> Feeds:
    if len(inputs) != 1:
        raise BuildError(f"{path}: a model of {len(inputs)} inputs takes no pictures; calibrate it on .npz files")
    (wanted,) = inputs
    row = pictures.fit(path, wanted.dtype, wanted.shape, scaling)
    if row is None:
        raise BuildError(
            f"{path}: input '{wanted.name}', {wanted.dtype.name} {list(wanted.shape)}, takes no picture: it is neither "
            "float32 [., 3, H, W] nor uint8 [., H, W, 3]; calibrate it on .npy files"
        )
    return {wanted.name: row}


def _arrays(path: Path, inputs: Sequence[Input]) -> Feeds:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {inputs[0].name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BuildError(f"{path} cannot be read as arrays: {error}") from error
    missing = [each.name for each in inputs if each.name not in arrays]
    if missing:
        raise BuildError(f"{path}: it has no array for input '{missing[0]}'")
    return arrays

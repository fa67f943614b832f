"""Arrays of numpy's `.npz` files."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from yais.clients.messages import Arrays


def load_npz(path: Path) -> Arrays:
    """The arrays by name. Raises ValueError, naming the file, when it cannot be read."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz file")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def save_npz(path: Path, arrays: Arrays) -> None:
    """Unlike numpy's own function it takes any name and keeps the path as it is. Raises OSError."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)

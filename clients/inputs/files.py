"""Files of inputs: numpy's `.npz`, KServe's JSON for HTTP, or folders of them."""

import json
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np

from yais.clients.protocol import Array, Arrays
from yais.proto.tensors import DTYPES

_FIELDS = {"name", "datatype", "shape", "data"}

# Of memory, for all requests that are sent in turn.
MOST_BYTES = 1 << 30


def load_npz(path: Path) -> Arrays:
    """The arrays by name. Raises ValueError, naming the file, when it cannot be read."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file")
    try:
        # Without pickles: one could run any code.
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def save_npz(file: Path | BinaryIO, arrays: Arrays) -> None:
    """Unlike numpy's own function it takes any name and keeps the path as it is. Raises OSError."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            # Zip64 must be chosen before the size is known; without it an entry ends at 2 GiB.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load_json(path: Path) -> list[Arrays]:
    """The inputs of the file's request, or of each in a list of them.

    Raises ValueError, naming the place, for what cannot be sent as it stands there.
    """
    try:
        content = json.loads(path.read_bytes())
    # RecursionError is json's answer to lists that are nested too deeply.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    requests = content if isinstance(content, list) else [content]
    if not requests:
        raise ValueError(f"{path} holds no request")
    loaded = []
    for number, request in enumerate(requests):
        try:
            loaded.append(_read_request(request))
        except ValueError as error:
            raise ValueError(f"{path}, request {number}: {error}") from error
    return loaded


def list_files(path: Path, suffixes: Collection[str] = ()) -> list[Path]:
    """`path` itself; of a folder its files by name, without hidden ones, only those with one of `suffixes` if given."""
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.iterdir()
        if file.is_file() and not file.name.startswith(".") and (not suffixes or file.suffix.lower() in suffixes)
    )


class MemoryLimit:
    """Counts what is kept; the first inputs are free, for a single request is bounded by the protocol only."""

    def __init__(self, option: str) -> None:
        self._option = option
        self._taken = 0

    def keep(self, inputs: Arrays) -> Arrays:
        size = sum(array.nbytes for array in inputs.values())
        if self._taken and self._taken + size > MOST_BYTES:
            raise click.UsageError(f"{self._option}: the requests take more than {MOST_BYTES >> 20} MiB of memory")
        self._taken += size
        return inputs


def _read_request(request: Any) -> Arrays:
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise ValueError('it is not an object with a list of "inputs"')
    # "parameters", "outputs" and "id" are KServe's as well; to leave them out in silence would send another request.
    if others := request.keys() - {"inputs"}:
        raise ValueError(f"{min(others)!r} is not sent: a request holds its inputs only")
    arrays: Arrays = {}
    for number, tensor in enumerate(request["inputs"]):
        if not isinstance(tensor, dict) or tensor.keys() != _FIELDS or not isinstance(tensor["name"], str):
            raise ValueError(f'input {number} is not an object of "name", "datatype", "shape" and "data"')
        if tensor["name"] in arrays:
            raise ValueError(f"input {tensor['name']!r} is there twice")
        try:
            datatype, shape, data = tensor["datatype"], tensor["shape"], tensor["data"]
            if not isinstance(datatype, str) or datatype not in DTYPES:
                raise ValueError(f"the datatype {datatype!r} is not one of {', '.join(DTYPES)}")
            # `type`, not `isinstance`: true is an int in Python, and no dimension.
            if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
                raise ValueError(f"the shape {shape!r} is not a list of dimensions of at least 0")
            if not isinstance(data, list):
                raise ValueError("the data are not a list")
            # KServe's protocol lets data be flat or nested as the shape is, in row-major order either way.
            arrays[tensor["name"]] = _convert_data(data, datatype).reshape(shape)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"input {tensor['name']!r}: {error}") from error
    return arrays


def _convert_data(data: list[Any], datatype: str) -> Array:
    """Only what keeps its value: no text becomes a number, no fraction an integer, nothing too large infinite."""
    if datatype == "BYTES":
        strings = np.array(data, np.object_)
        if not all(isinstance(element, str) for element in strings.flat):
            raise ValueError("BYTES are written as texts")
        return strings
    # What numpy makes of the data by itself shows which kind they are of, and which numbers are finite.
    natural = np.array(data)
    kinds = "b" if datatype == "BOOL" else "iu" if "INT" in datatype else "iuf"
    if natural.size and natural.dtype.kind not in kinds:
        raise ValueError(f"the data are not {datatype}")
    with np.errstate(over="ignore"):
        array = np.array(data, DTYPES[datatype])
    if np.any(np.isinf(array) & np.isfinite(natural)):
        raise ValueError(f"a number is too large for {datatype}")
    return array

"""Tensors in a file of torch's legacy format, the one before its zip files, read without torch.

Such a file is five pickles (magic number, protocol, facts about the machine, the state dict, the storages' order), then
the storages one after another: the number of elements in 8 bytes, little-endian, and the elements.

The pickles are read as data: a name in them can only describe a tensor, and every size that they have is checked
against the bytes which are there.
"""

import reprlib
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from yais.engines.zoo import BuildError, safepickle

Array = NDArray[Any]

# Of torch.serialization's legacy writer.
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
DTYPES = {
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.CharStorage": np.dtype("<i1"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.ByteStorage": np.dtype("<u1"),
}

_LENGTH = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: np.dtype[Any]
    key: str
    length: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as the pickle describes it, in elements of its storage; checked once the storage is read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path) -> dict[str, Array]:
    """The tensors in `path` by name, read-only. Raises `BuildError` when it is no such file, or damaged."""
    try:
        data = path.read_bytes()
        if data[:2] == b"PK":
            raise ValueError("it is one of torch's zip files, which are not read here")
        reader = _Reader(data)
        if reader.pickle() != MAGIC or reader.pickle() != PROTOCOL:
            raise ValueError(f"it does not begin with torch's magic number and protocol {PROTOCOL}")
        if not reader.pickle()["little_endian"]:
            raise ValueError("it comes from a big-endian machine")
        views, order = reader.pickle(), reader.pickle()
        buffers = _read_storages(reader, order)
        return {name: _tensor(name, view, buffers) for name, view in views.items()}
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror}") from error
    # A damaged pickle can end in about any exception.
    except Exception as error:
        raise BuildError(f"{path} is not a state dict in torch's legacy format: {error}") from error


class _Reader:
    """Reads the parts of one file in turn, and keeps the storages that its tensors name."""

    def __init__(self, data: bytes) -> None:
        self.file = BytesIO(data)
        self.storages: dict[str, _Storage] = {}
        self._names = {"collections.OrderedDict": lambda: {}, "torch._utils._rebuild_tensor_v2": _view, **DTYPES}

    def pickle(self) -> Any:
        return safepickle.load(self.file, self._names, self._storage)

    def _storage(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", np.dtype() as dtype, str(key), str(), int(length), None):
                storage = _Storage(dtype, key, length)
                # The same storage is described once for each tensor in it.
                if self.storages.setdefault(key, storage) == storage:
                    return storage
        raise ValueError(f"{reprlib.repr(pid)} is not a storage, or contradicts an earlier one")


# torch's function has further arguments, for gradients and hooks, which are nothing to a tensor's elements.
def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _View:
    return _View(storage, offset, shape, strides)


def _read_storages(reader: _Reader, order: list[str]) -> dict[str, Array]:
    if not all(isinstance(key, str) for key in order) or sorted(order) != sorted(reader.storages):
        raise ValueError("the storages listed are not those which its tensors use")
    buffers = {}
    for key in order:
        storage = reader.storages[key]
        if reader.file.read(_LENGTH.size) != _LENGTH.pack(storage.length):
            raise ValueError(f"storage {key} is not headed by its length, {storage.length}")
        size = storage.length * storage.dtype.itemsize
        # A length may be negative, and to read -1 bytes would be to read them all.
        body = reader.file.read(max(size, 0))
        if len(body) != size:
            raise ValueError(f"storage {key} needs {size} bytes, {len(body)} are left")
        buffers[key] = np.frombuffer(body, storage.dtype)
    return buffers


def _tensor(name: str, view: _View, buffers: dict[str, Array]) -> Array:
    match view:
        case _View(_Storage(key=key), offset, tuple(shape), tuple(strides)) if len(shape) == len(strides):
            buffer = buffers[key]
        case _:
            raise ValueError(f"{name} is no tensor, or has not as many strides as dimensions")
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        # Shortened: what a damaged file has in their place may be of any size.
        found = ", ".join(map(reprlib.repr, (offset, shape, strides)))
        raise ValueError(f"tensor {name} has offset, shape and strides {found}")
    # as_strided checks nothing: a wrong stride would read whatever lies behind the buffer. bool is an int, thus `type`.
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= len(buffer):
        raise ValueError(f"tensor {name} reaches element {last} of a storage of {len(buffer)}")
    return as_strided(buffer[offset:], shape, [stride * buffer.itemsize for stride in strides], writeable=False)

"""Layout of a tensor's elements on the wire: datatype names, raw contents, and the length-prefixed BYTES form.

Source: KServe's Open Inference Protocol v2, "Tensor Data" and its binary tensor data extension.
"""

import struct
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    # Strings of any length, as Triton's clients have them: an array of `bytes`.
    "BYTES": np.dtype(np.object_),
}
DATATYPES: dict[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}

# The field of InferTensorContents that carries a datatype; FP16 and BF16 have none.
CONTENTS_FIELDS: dict[str, str] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

_LENGTH = struct.Struct("<I")


def pack_strings(array: NDArray[np.object_]) -> bytes:
    """Raw BYTES contents of an array of `bytes` or `str`: each element behind its length, 4 bytes little-endian."""
    parts: list[bytes] = []
    for element in array.ravel():
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def unpack_strings(raw: bytes | memoryview) -> list[bytes]:
    """The elements of raw BYTES contents. Raises ValueError where a length or an element is cut short."""
    elements: list[bytes] = []
    position, end = 0, len(raw)
    while position < end:
        if end - position < _LENGTH.size:
            raise ValueError(
                f"incomplete string length indicator, expecting 4 bytes but only {end - position} are left,"
            )
        (length,) = _LENGTH.unpack_from(raw, position)
        position += _LENGTH.size
        # Checked before it is cut: a slice beyond the end would be short without an error.
        if end - position < length:
            raise ValueError(f"incomplete string data, expecting {length} bytes but only {end - position} are left,")
        elements.append(bytes(raw[position : position + length]))
        position += length
    return elements


def strings_array(elements: Sequence[bytes], shape: tuple[int, ...]) -> NDArray[np.object_]:
    """`elements` as an array of `shape`. Raises ValueError when their number does not fit."""
    # np.array(elements) would make an array of fixed-width bytes, which loses trailing zeros.
    strings = np.empty(len(elements), np.object_)
    strings[:] = elements
    return strings.reshape(shape)


def to_raw(array: NDArray[Any]) -> bytes:
    """Raw contents of `array`: little-endian, row-major."""
    if array.dtype == np.object_:
        return pack_strings(array)
    # "<", "=" and "|" are little-endian on the machines that this runs on.
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def from_raw(raw: bytes | memoryview, datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array that raw contents describe; a read-only view of `raw` except for BYTES.

    Raises ValueError when the number of elements does not fit `shape`.
    """
    if datatype == "BYTES":
        return strings_array(unpack_strings(raw), shape)
    return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)

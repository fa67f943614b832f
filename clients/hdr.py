"""HdrHistogram's own text form of a histogram: V2, compressed, base64; what its plotters and log readers take.

A header, then the counts in the order of the slots, as zigzag LEB128 integers: a negative one is so many empty slots.
"""

import base64
import binascii
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from yais.clients.histogram import MOST_SLOTS, Histogram

_COMPRESSED = 0x1C849304 | 0x10
_PLAIN = 0x1C849303 | 0x10
_OUTER = struct.Struct(">II")
# Cookie, length, offset, significant digits, lowest and highest value, conversion ratio.
_INNER = struct.Struct(">IIIIQQd")
_DIGITS = 3
# Histograms of one range can be added without a conversion, which not every reader knows.
_HOUR = 3600 * 10**9
_LONGEST = 9


def encode(histogram: Histogram) -> str:
    body = _packed(_tokens(histogram.counts))
    highest = max(histogram.value_at(100), _HOUR)
    payload = zlib.compress(_INNER.pack(_PLAIN, len(body), 0, _DIGITS, 1, highest, 1.0) + body)
    return base64.b64encode(_OUTER.pack(_COMPRESSED, len(payload)) + payload).decode()


def decode(text: str) -> Histogram:
    """Raises ValueError for what is no histogram, or one of another unit or precision than `Histogram`'s."""
    try:
        data = base64.b64decode(text, validate=True)
        outer, length = _OUTER.unpack_from(data)
        payload = zlib.decompress(data[_OUTER.size : _OUTER.size + length])
        inner, size, _, digits, lowest, _, _ = _INNER.unpack_from(payload)
    except (binascii.Error, struct.error, zlib.error) as error:
        raise ValueError(f"no HdrHistogram in its compressed form: {error}") from error
    if (outer, inner) != (_COMPRESSED, _PLAIN):
        raise ValueError("no HdrHistogram of version 2")
    if (digits, lowest) != (_DIGITS, 1):
        raise ValueError(f"an HdrHistogram of {digits} digits from {lowest} on; here they have {_DIGITS} from 1 on")
    return Histogram(_counts(_unpacked(payload[_INNER.size : _INNER.size + size])))


def _tokens(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each count, after the number of empty slots before it, negative, where there are any."""
    filled = np.flatnonzero(counts)
    empty = np.diff(filled, prepend=-1) - 1
    pairs: NDArray[np.int64] = np.column_stack((-empty, counts[filled])).ravel()
    return pairs[np.flatnonzero(pairs)]


def _counts(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    ends = np.cumsum(np.where(tokens < 0, -tokens, 1))
    slots = int(ends.max(initial=0))
    if slots > MOST_SLOTS or ends.min(initial=0) < 0:
        raise ValueError(f"an HdrHistogram of {slots} slots; there are {MOST_SLOTS} at most")
    counts = np.zeros(slots, np.int64)
    counts[ends[tokens > 0] - 1] = tokens[tokens > 0]
    return counts


def _packed(tokens: NDArray[np.int64]) -> bytes:
    """Seven bits a byte, the least first; the top bit says that more follow. No token is 0."""
    zigzag = (tokens << 1) ^ (tokens >> 63)
    longest = -(-int(zigzag.max(initial=1)).bit_length() // 7)
    rest = zigzag[:, None] >> np.arange(0, 7 * (longest + 1), 7)
    wanted = rest[:, :-1] != 0
    septets: NDArray[np.int64] = (rest[:, :-1] & 0x7F) | ((rest[:, 1:] != 0) << 7)
    return bytes(septets[wanted].astype(np.uint8))


def _unpacked(body: bytes) -> NDArray[np.int64]:
    data = np.frombuffer(body, np.uint8).astype(np.int64)
    if not data.size:
        return data
    if data[-1] >= 0x80:
        raise ValueError("an HdrHistogram that breaks off")
    starts = np.append(0, np.flatnonzero(data < 0x80)[:-1] + 1)
    places = np.arange(data.size) - np.repeat(starts, np.diff(starts, append=data.size))
    if places.max() >= _LONGEST:
        raise ValueError(f"an HdrHistogram with a count of more than {_LONGEST} bytes")
    zigzag = np.add.reduceat((data & 0x7F) << (7 * places), starts)
    return (zigzag >> 1) ^ -(zigzag & 1)

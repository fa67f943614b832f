"""Histogram of durations in HdrHistogram's layout, and its text form.

The memory is flat and a duration is known to three significant digits, however long the run. The text form is
HdrHistogram's own (V2, compressed, base64), which its plotters and log readers take: a header, then the counts in the
order of the slots, as zigzag LEB128 integers; a negative one is so many empty slots.
"""

import base64
import binascii
import struct
import zlib
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]

SECOND = 1_000_000_000

QUANTILES = MappingProxyType(
    {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "p99.99": 99.99, "max": 100.0}
)

# Values below 2,048 ns have a slot each; every octave above has 1,024, which makes them 0.1 % wide at most.
_DIRECT_BITS = 11
_HALF_BITS = _DIRECT_BITS - 1
HALF_OCTAVE = 1 << _HALF_BITS
# What a 64-bit duration can need.
MOST_SLOTS = (63 - _DIRECT_BITS + 2) * HALF_OCTAVE

# AbstractHistogram.java: a version's base cookie, and 0x10 for counts of variable length (ZigZag LEB128).
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_PLAIN_COOKIE = 0x1C849303 | 0x10
_OUTER = struct.Struct(">II")
# Cookie, length, offset, significant digits, lowest and highest value, conversion ratio.
_INNER = struct.Struct(">IIIIQQd")
_DIGITS = 3
# Histograms of one range can be added without a conversion, which not every reader knows.
_LEAST_HIGHEST = 3600 * 10**9
# Bytes that HdrHistogram's ZigZagEncoding needs at most, in its LEB128-64b9B variant.
_LONGEST_TOKEN = 9


class Histogram:
    """How often each duration occurred, in nanoseconds; a duration is known to 0.1 %, from 1 us to years.

    The slots are those of an HdrHistogram with a unit of 1 and 3 significant digits (Gil Tene's layout), as many of
    them as the longest duration needs, so that what is said of the values agrees with HdrHistogram's own code.
    """

    def __init__(self, counts: NDArray[np.int64] | None = None) -> None:
        self.counts = _grown(np.zeros(0, np.int64) if counts is None else counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and np.array_equal(*_alike(self.counts, other.counts))

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to another process as the slots that are filled: a hundredth of all, mostly."""
        filled = np.flatnonzero(self.counts)
        counts = self.counts[filled]
        size = np.min_scalar_type(int(counts.max(initial=0)))
        # Slots need 16 bits (MOST_SLOTS is below 65,536), counts as many as the largest does.
        return _filled, (self.counts.size, filled.astype(np.uint16), counts.astype(size))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def octaves(self) -> int:
        """What HdrHistogram calls buckets: the first has twice `HALF_OCTAVE` slots, each further one half of that."""
        return self.counts.size // HALF_OCTAVE - 1

    def add(self, durations: Nanoseconds) -> None:
        """Counts each of `durations`; raises ValueError for a negative one."""
        if durations.size:
            added = np.bincount(_slots(durations))
            self.counts, added = _alike(self.counts, added)
            self.counts += added

    def merge(self, other: Self) -> None:
        """Counts what `other` has counted."""
        self.counts, added = _alike(self.counts, other.counts)
        self.counts = self.counts + added

    def minus(self, earlier: Self) -> "Histogram":
        """What was counted since this was a copy equal to `earlier`."""
        now, before = _alike(self.counts, earlier.counts)
        return Histogram(now - before)

    def copy(self) -> "Histogram":
        return Histogram(self.counts.copy())

    def value_at(self, percentile: float) -> int:
        """The greatest duration in the slot of the one at `percentile`; 0 without data."""
        return int(self.values_at([percentile])[0])

    def values_at(self, percentiles: list[float]) -> Nanoseconds:
        """As `value_at`, for all of `percentiles`."""
        cumulated = np.cumsum(self.counts)
        if not cumulated[-1]:
            return np.zeros(len(percentiles), np.int64)
        # HdrHistogram's own rounding of the rank, which is what makes the last digit agree.
        ranks = [max(int(percentile * int(cumulated[-1]) / 100 + 0.5), 1) for percentile in percentiles]
        return _highest(np.searchsorted(cumulated, ranks))

    def percentiles(self) -> dict[str, float]:
        """In milliseconds, by the names in `QUANTILES`; empty without data."""
        if not self.counts.any():
            return {}
        values = self.values_at(list(QUANTILES.values())) / 1e6
        return dict(zip(QUANTILES, values.tolist(), strict=True))

    def steps(self) -> tuple[Nanoseconds, NDArray[np.int64]]:
        """The durations that occurred, in ascending order, each the greatest of its slot, and how often."""
        filled = np.flatnonzero(self.counts)
        return _highest(filled), self.counts[filled]

    def above(self, duration: int) -> int:
        """How many were longer than `duration`, which counts as long as the greatest of its slot."""
        return int(self.counts[_slots(np.array([duration]))[0] + 1 :].sum())

    def mean(self) -> float:
        """In nanoseconds, to the precision of the slots, of which the middle counts; 0.0 without data."""
        return self._moment(0.0, 1)

    def deviation(self) -> float:
        """The standard deviation, in nanoseconds."""
        return float(self._moment(self.mean(), 2) ** 0.5)

    def _moment(self, origin: float, power: int) -> float:
        filled = np.flatnonzero(self.counts)
        counts = self.counts[filled]
        middles = _lowest(filled) + (_widths(filled) >> 1)
        return float((counts * (middles - origin) ** power).sum() / counts.sum()) if counts.size else 0.0


def milliseconds(value: float) -> str:
    """At least three significant digits."""
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f}"


def encode_histogram(histogram: Histogram) -> str:
    body = _packed(_tokens(histogram.counts))
    # The range's end, from which readers work out how many slots to make.
    highest = max(histogram.value_at(100), _LEAST_HIGHEST)
    payload = zlib.compress(_INNER.pack(_PLAIN_COOKIE, len(body), 0, _DIGITS, 1, highest, 1.0) + body)
    return base64.b64encode(_OUTER.pack(_COMPRESSED_COOKIE, len(payload)) + payload).decode()


def decode_histogram(text: str) -> Histogram:
    """Raises ValueError for what is no histogram, or one of another unit or precision than `Histogram`'s."""
    try:
        data = base64.b64decode(text, validate=True)
        outer, length = _OUTER.unpack_from(data)
        payload = zlib.decompress(data[_OUTER.size : _OUTER.size + length])
        inner, size, _, digits, lowest, _, _ = _INNER.unpack_from(payload)
    except (binascii.Error, struct.error, zlib.error) as error:
        raise ValueError(f"no HdrHistogram in its compressed form: {error}") from error
    if (outer, inner) != (_COMPRESSED_COOKIE, _PLAIN_COOKIE):
        raise ValueError("no HdrHistogram of version 2")
    if (digits, lowest) != (_DIGITS, 1):
        raise ValueError(f"an HdrHistogram of {digits} digits from {lowest} on; here they have {_DIGITS} from 1 on")
    return Histogram(_counts(_unpacked(payload[_INNER.size : _INNER.size + size])))


def _filled(size: int, filled: NDArray[np.uint16], counts: NDArray[Any]) -> Histogram:
    slots = np.zeros(size, np.int64)
    slots[filled] = counts
    return Histogram(slots)


def _slots(durations: Nanoseconds) -> NDArray[np.int64]:
    if durations.min() < 0:
        raise ValueError(f"a duration of {durations.min()} ns: it cannot be below 0")
    # frexp's exponent is the bit length; that of the upper bits counts the octaves above those with a slot each.
    octaves = np.frexp((durations >> _DIRECT_BITS).astype(np.float64))[1]
    slots: NDArray[np.int64] = (octaves.astype(np.int64) << _HALF_BITS) + (durations >> octaves)
    return slots


def _octaves(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    return ((slots >> _HALF_BITS) - 1).clip(0)


def _widths(slots: NDArray[np.int64]) -> Nanoseconds:
    return np.left_shift(1, _octaves(slots))


def _lowest(slots: NDArray[np.int64]) -> Nanoseconds:
    octaves = _octaves(slots)
    return (slots - (octaves << _HALF_BITS)) << octaves


def _highest(slots: NDArray[np.int64]) -> Nanoseconds:
    return _lowest(slots) + _widths(slots) - 1


def _alike(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return _grown(one, other.size), _grown(other, one.size)


def _grown(counts: NDArray[np.int64], size: int = 0) -> NDArray[np.int64]:
    """With `size` slots or more: whole octaves."""
    size = max(size, counts.size, 2 * HALF_OCTAVE)
    size += -size % HALF_OCTAVE
    return counts if counts.size == size else np.pad(counts, (0, size - counts.size))


def _tokens(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each count, after the number of empty slots before it, negative, where there are any."""
    filled = np.flatnonzero(counts)
    # Those after the last filled slot are not written.
    empty = np.diff(filled, prepend=-1) - 1
    pairs: NDArray[np.int64] = np.column_stack((-empty, counts[filled])).ravel()
    return pairs[np.flatnonzero(pairs)]


def _counts(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    # An absurd number of empty slots may overflow, and is then below 0.
    ends = np.cumsum(np.where(tokens < 0, -tokens, 1))
    slots = int(ends.max(initial=0))
    if slots > MOST_SLOTS or ends.min(initial=0) < 0:
        raise ValueError(f"an HdrHistogram of {slots} slots; there are {MOST_SLOTS} at most")
    counts = np.zeros(slots, np.int64)
    counts[ends[tokens > 0] - 1] = tokens[tokens > 0]
    return counts


def _packed(tokens: NDArray[np.int64]) -> bytes:
    """Seven bits a byte, the least first; the top bit says that more follow. No token is 0."""
    # Small numbers of either sign become small ones without: 0, -1, 1, -2 are 0, 1, 2, 3.
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
    if places.max() >= _LONGEST_TOKEN:
        raise ValueError(f"an HdrHistogram with a count of more than {_LONGEST_TOKEN} bytes")
    zigzag = np.add.reduceat((data & 0x7F) << (7 * places), starts)
    return (zigzag >> 1) ^ -(zigzag & 1)

"""Durations counted in HdrHistogram's layout: flat memory and three significant digits, however long the run."""

from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]

QUANTILES = MappingProxyType(
    {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "p99.99": 99.99, "max": 100.0}
)

# Values below 2,048 ns have a slot each; every octave above has 1,024, which makes them 0.1 % wide at most.
_DIRECT_BITS = 11
_HALF_BITS = _DIRECT_BITS - 1
HALF_OCTAVE = 1 << _HALF_BITS
# What a 64-bit duration can need.
MOST_SLOTS = (63 - _DIRECT_BITS + 2) * HALF_OCTAVE


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
        """The greatest duration that is not told apart from the one at `percentile`; 0 without data."""
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

"""Quantiles over a sliding window, with a bounded relative error.

Values are counted in buckets whose bounds grow by a constant factor, so that a bucket's middle is within `ERROR` of
every value in it (the idea of DDSketch, https://arxiv.org/abs/1908.10693). The window is a ring of sub-windows; one is
emptied when time moves on to it.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ERROR = 0.01
SUB_WINDOWS = 6
SUB_WINDOW_NS = 10_000_000_000

_GROWTH = (1 + ERROR) / (1 - ERROR)
_LOG_GROWTH = np.log(_GROWTH)
_SMALLEST_NS = 100
_BUCKETS = 1280  # 100 ns ~ 3.6 hours

# What is pickled: the latest sub-window, and the places and the counts of the buckets that are not empty.
_State: TypeAlias = tuple[int, NDArray[np.int64], NDArray[np.int64]]


class SlidingQuantiles:
    """Quantiles of durations in nanoseconds over the last 60 s, give or take the sub-window in use (10 s)."""

    def __init__(self) -> None:
        self._counts = np.zeros((SUB_WINDOWS, _BUCKETS), np.int64)
        self._slot = 0

    def observe(self, values: NDArray[np.int64], slot: int) -> None:
        """Counts `values`, which were taken in sub-window number `slot` (time // SUB_WINDOW_NS)."""
        self._advance(slot)
        # A flush may come late, after the sub-window of its values has left the ring.
        if slot > self._slot - SUB_WINDOWS:
            # Bucket k has the values up to _SMALLEST_NS * _GROWTH**k.
            positions = np.ceil(np.log(np.maximum(values, _SMALLEST_NS) / _SMALLEST_NS) / _LOG_GROWTH)
            buckets = np.minimum(positions, _BUCKETS - 1).astype(np.int64)
            self._counts[slot % SUB_WINDOWS] += np.bincount(buckets, minlength=_BUCKETS)

    def merge(self, other: "SlidingQuantiles") -> None:
        """Adds what `other` counted by the same clock."""
        self._advance(other._slot)
        other._advance(self._slot)
        self._counts += other._counts

    def quantiles(self, ranks: Sequence[float], slot: int) -> list[float]:
        """The values at `ranks` (0 to 1) in nanoseconds, NaN each when the window is empty."""
        self._advance(slot)
        cumulated = self._counts.sum(axis=0).cumsum()
        total = int(cumulated[-1])
        if total == 0:
            return [float("nan")] * len(ranks)
        wanted = np.maximum(1, np.ceil(np.asarray(ranks) * total))
        # The middle of each bucket, within `ERROR` of both its bounds.
        return [
            float(_SMALLEST_NS * 2 * _GROWTH**bucket / (1 + _GROWTH)) for bucket in np.searchsorted(cumulated, wanted)
        ]

    def __getstate__(self) -> _State:
        # Nearly all of the 7,680 counts are 0, and this travels whenever metrics are read from a worker.
        used = np.flatnonzero(self._counts)
        return self._slot, used, self._counts.flat[used]

    def __setstate__(self, state: _State) -> None:
        self.__init__()  # type: ignore[misc]
        self._slot, used, counts = state
        self._counts.flat[used] = counts

    def _advance(self, slot: int) -> None:
        # At most all of the ring, however long nothing came.
        for passed in range(max(self._slot + 1, slot - SUB_WINDOWS + 1), slot + 1):
            self._counts[passed % SUB_WINDOWS] = 0
        self._slot = max(self._slot, slot)

"""Pacers: schedules as pure functions of the arrival, which know neither clock nor server."""

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yais.clients.stats.histogram import SECOND, Nanoseconds

# Arrivals. A late sender sends at most so many before answers are read again.
BLOCK = 256

# What is due later than this (in 146 years) is due then: sums of int64 must not overflow.
FOREVER = 2**62


class Pacer(Protocol):
    """A schedule of arrivals; times are nanoseconds since its start, arrivals are counted from 0."""

    def due(self, arrival: int) -> int | None:
        """When `arrival` is due; never before the arrival ahead of it, None past the end of the schedule."""

    def rate(self, elapsed: int) -> float:
        """The arrivals a second that the schedule asks for at `elapsed`."""

    def due_block(self, first: int, count: int) -> list[int]:
        """When the arrivals from `first` on are due: at most `count` of them, none only past the end."""
        due = self.due(first)
        return [] if due is None else [due]


@dataclass(frozen=True, slots=True)
class Constant(Pacer):
    """Arrival k is due at k / rate, exactly, however long the schedule runs."""

    per_second: float

    def due(self, arrival: int) -> int:
        return self.due_block(arrival, 1)[0]

    def rate(self, elapsed: int) -> float:
        return self.per_second

    def due_block(self, first: int, count: int) -> list[int]:
        # Integers, for a float has whole nanoseconds only up to 104 days, and a sum of gaps drifts.
        numerator, denominator = self.per_second.as_integer_ratio()
        scale = SECOND * denominator
        return [arrival * scale // numerator for arrival in range(first, first + count)]


@dataclass(frozen=True, slots=True)
class Until(Pacer):
    """A schedule that ends after `count` arrivals, or before `duration` nanoseconds; None sets no bound."""

    pacer: Pacer
    count: int | None = None
    duration: int | None = None

    def due(self, arrival: int) -> int | None:
        block = self.due_block(arrival, 1)
        return block[0] if block else None

    def rate(self, elapsed: int) -> float:
        return self.pacer.rate(elapsed)

    def due_block(self, first: int, count: int) -> list[int]:
        if self.count is not None:
            count = min(count, self.count - first)
        block = self.pacer.due_block(first, count) if count > 0 else []
        if self.duration is not None:
            # The end is exclusive: what is due exactly at `duration` is left out.
            del block[bisect_left(block, self.duration) :]
        return block


@dataclass(frozen=True, slots=True)
class Shard(Pacer):
    """Every `of`-th arrival of a schedule from `first` on: what one of `of` processes sends."""

    pacer: Pacer
    first: int
    of: int

    def due(self, arrival: int) -> int | None:
        return self.pacer.due(self.first + arrival * self.of)

    def rate(self, elapsed: int) -> float:
        return self.pacer.rate(elapsed) / self.of

    def due_block(self, first: int, count: int) -> list[int]:
        # Each process makes the whole schedule; all that they have to agree on are its options.
        return self.pacer.due_block(self.first + first * self.of, count * self.of)[:: self.of]


class Arrivals:
    """Goes through a schedule once, in blocks: well under a microsecond an arrival, whatever the schedule.

    A block is short, for it is made on the event loop between two sends.
    """

    def __init__(self, pacer: Pacer, block: int = BLOCK) -> None:
        self.taken = 0
        self._pacer = pacer
        self._size = block
        self._block: list[int] = []
        self._at = 0

    @property
    def next_due(self) -> int | None:
        """When the next arrival is due that was not taken yet; None at the end of the schedule."""
        if self._at == len(self._block):
            self._block, self._at = self._pacer.due_block(self.taken, self._size), 0
        return self._block[self._at] if self._block else None

    def take(self, elapsed: int) -> list[int]:
        """The due times of what is due by `elapsed`: a block of it at most, and none only when there is none."""
        if self.next_due is None:
            return []
        begin, self._at = self._at, bisect_right(self._block, elapsed, self._at)
        # What is overdue is taken at once, as by vegeta: a late sender catches up, and no arrival is left out.
        self.taken += self._at - begin
        return self._block[begin : self._at]


def count_before(pacer: Pacer, elapsed: int) -> int:
    """How many arrivals are due before `elapsed`."""
    arrivals = Arrivals(pacer, block=65_536)
    # `take` includes what is due at that very time.
    while arrivals.take(elapsed - 1):
        pass
    return arrivals.taken


class BlockPacer(Pacer):
    """Keeps the block that was asked for last, so that its memory does not grow with the schedule."""

    def __init__(self, size: int = BLOCK) -> None:
        self._size = size
        self._first = 0
        self._block: list[int] = []

    @abstractmethod
    def make(self, first: int) -> NDArray[Any]:
        """The due times of `size` arrivals from `first` on, a multiple of `size`; fewer only at the end."""

    def due(self, arrival: int) -> int | None:
        block = self.due_block(arrival, 1)
        return block[0] if block else None

    def due_block(self, first: int, count: int) -> list[int]:
        at = first - self._first
        if not 0 <= at < len(self._block):
            at = first % self._size
            self._first = first - at
            self._block = np.minimum(self.make(self._first), FOREVER).tolist()
        return self._block[at : at + count]


def cycle_starts(cycles: NDArray[np.float64], period: int) -> Nanoseconds:
    """When these cycles begin, those that no longer fit into an int64 at some time after FOREVER."""
    starts: Nanoseconds = np.minimum(cycles, FOREVER // period + 1).astype(np.int64) * period
    return starts

"""Schedules that numpy makes, a block of arrivals at a time."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yais.clients.siege.schedules.pacer import BLOCK, Pacer

Nanoseconds = NDArray[np.int64]

# What is due later than this (in 146 years) is due then: sums of int64 must not overflow.
FOREVER = 2**62


class Blocks(Pacer):
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


def starts_of(cycles: NDArray[np.float64], period: int) -> Nanoseconds:
    """When these cycles begin, those that no longer fit into an int64 at some time after FOREVER."""
    starts: Nanoseconds = np.minimum(cycles, FOREVER // period + 1).astype(np.int64) * period
    return starts

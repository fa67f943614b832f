"""Rates that are linear piece by piece: pulses, steps, ramps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from yais.clients.siege.schedules.blocks import FOREVER, Blocks, Nanoseconds, starts_of
from yais.clients.siege.schedules.pacer import BLOCK, SECOND

Number = TypeVar("Number", np.int64, np.float64)

# Sums of rates come with rounding errors; an arrival this close to the end of a piece belongs to the next one.
_NEARLY = 1e-6


@dataclass(frozen=True, slots=True)
class Piece:
    """A rate that goes from `begin` to `end` a second within `duration` nanoseconds."""

    begin: float
    end: float
    duration: int

    @property
    def arrivals(self) -> float:
        return (self.begin + self.end) / 2 * self.duration / SECOND

    @property
    def slope(self) -> float:
        """By how much the rate grows in a second."""
        return (self.end - self.begin) * SECOND / self.duration


class Linear(Blocks):
    """Arrival k is due at the last moment by which the integral of the rate is k, so that none is in a piece of rate 0.

    After the last piece they begin anew when it `repeats`; otherwise the last rate goes on, and a last rate of 0 is the
    end.
    """

    def __init__(self, pieces: Sequence[Piece], *, repeats: bool, size: int = BLOCK) -> None:
        super().__init__(size)
        self._period = sum(piece.duration for piece in pieces) if repeats else FOREVER
        self._arrivals = sum(piece.arrivals for piece in pieces)
        if not repeats:
            pieces = [*pieces, Piece(pieces[-1].end, pieces[-1].end, FOREVER)]
            self._arrivals = np.inf if pieces[-1].end else self._arrivals
        self._begins = np.array([piece.begin for piece in pieces])
        self._slopes = np.array([piece.slope for piece in pieces])
        self._durations = np.array([piece.duration for piece in pieces])
        self._starts = _sums_before(self._durations)
        self._arrivals_before = _sums_before(np.array([piece.arrivals for piece in pieces]))
        self._repeats = repeats

    def rate(self, elapsed: int) -> float:
        within = elapsed % self._period
        piece = int(np.searchsorted(self._starts, within, side="right")) - 1
        return float(self._begins[piece] + self._slopes[piece] * (within - self._starts[piece]) / SECOND)

    def make(self, first: int) -> Nanoseconds:
        arrivals = np.arange(first, first + self._size, dtype=np.float64) + _NEARLY
        if not self._repeats:
            return self._within(arrivals[arrivals < self._arrivals])
        cycles = np.floor(arrivals / self._arrivals)
        # A quotient rounded up to a whole cycle would leave an arrival a little before the cycle's own start.
        within = np.maximum(arrivals - cycles * self._arrivals, 0)
        dues: Nanoseconds = starts_of(cycles, self._period) + self._within(within)
        return dues

    def _within(self, arrivals: NDArray[np.float64]) -> Nanoseconds:
        """When these are due, each in a cycle of its own; _NEARLY is in them."""
        piece = np.searchsorted(self._arrivals_before, arrivals, side="right") - 1
        ahead = np.maximum(arrivals - _NEARLY - self._arrivals_before[piece], 0)
        seconds = _time_of(ahead, self._begins[piece], self._slopes[piece])
        offsets = np.minimum(np.rint(seconds * SECOND), self._durations[piece])
        dues: Nanoseconds = self._starts[piece] + offsets.astype(np.int64)
        return dues


def pulses(low: float, high: float, period: int, duty: float, size: int = BLOCK) -> Linear:
    """`high` for the first `duty` of every `period` nanoseconds, then `low`."""
    length = round(period * duty)
    return Linear([Piece(high, high, length), Piece(low, low, period - length)], repeats=True, size=size)


def steps(rates: Iterable[tuple[float, int]], size: int = BLOCK) -> Linear:
    """Each rate for its nanoseconds; the last goes on."""
    return Linear([Piece(rate, rate, duration) for rate, duration in rates], repeats=False, size=size)


def ramp(begin: float, end: float, duration: int, size: int = BLOCK) -> Linear:
    """From `begin` to `end` within `duration` nanoseconds, where the rate then stays."""
    return Linear([Piece(begin, end, duration)], repeats=False, size=size)


def _sums_before(values: NDArray[Number]) -> NDArray[Number]:
    return np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)[:-1]])


def _time_of(ahead: NDArray[np.float64], begin: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """The seconds t in which begin * t + slope * t**2 / 2 comes to `ahead`.

    The usual formula for the root subtracts what is nearly equal when the slope is small; this one never does.
    """
    root = begin + np.sqrt(np.maximum(begin**2 + 2 * slope * ahead, 0))
    return np.divide(2 * ahead, root, out=np.zeros_like(ahead), where=root > 0)

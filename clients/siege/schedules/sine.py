"""A rate that swings."""

import math

import numpy as np
from numpy.typing import NDArray

from yais.clients.siege.schedules.blocks import Blocks, Nanoseconds, starts_of
from yais.clients.siege.schedules.pacer import BLOCK, SECOND

_GRID = 1024
# From this grid they are exact to the nanosecond.
_NEWTON_STEPS = 2


class Sine(Blocks):
    """rate(t) = mean + amplitude * sin(2 pi t / period): it begins at the mean and rises. `period` is in nanoseconds.

    Arrival k is due when the integral of the rate is k. In one period, where x is the share of it that has passed and
    a = amplitude / mean, the integral has come to the share x + a / (2 pi) * (1 - cos(2 pi x)) of its whole, mean *
    period. That is Kepler's equation: it has no closed inverse, and is solved by Newton's method from a table.
    """

    def __init__(self, mean: float, amplitude: float, period: int, size: int = BLOCK) -> None:
        super().__init__(size)
        self._mean = mean
        self._amplitude = amplitude
        self._period = period
        self._arrivals = mean * period / SECOND
        self._phases = np.linspace(0, 1, _GRID + 1)
        self._shares = self._share(self._phases)

    def rate(self, elapsed: int) -> float:
        return self._mean + self._amplitude * math.sin(2 * math.pi * (elapsed % self._period) / self._period)

    def make(self, first: int) -> Nanoseconds:
        arrivals = np.arange(first, first + self._size)
        cycles = np.floor(arrivals / self._arrivals)
        phases = self._phase((arrivals - cycles * self._arrivals) / self._arrivals)
        return starts_of(cycles, self._period) + np.rint(phases * self._period).astype(np.int64)

    def _share(self, phase: NDArray[np.float64]) -> NDArray[np.float64]:
        swing = self._amplitude / self._mean / (2 * math.pi)
        return phase + swing * (1 - np.cos(2 * math.pi * phase))

    def _phase(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `_share`. No inflection is within a cell of the grid, so Newton's method does not leave it."""
        cell = np.clip(np.searchsorted(self._shares, share, side="right") - 1, 0, _GRID - 1)
        phase = np.interp(share, self._shares, self._phases)
        for _ in range(_NEWTON_STEPS):
            slope = 1 + self._amplitude / self._mean * np.sin(2 * math.pi * phase)
            phase = phase - (self._share(phase) - share) / np.maximum(slope, 1e-9)
            phase = np.clip(phase, self._phases[cell], self._phases[cell + 1])
        return phase

"""Random arrivals: the gaps between them are independent draws of one distribution."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from yais.clients.siege.schedules.blocks import FOREVER, Blocks, Nanoseconds
from yais.clients.siege.schedules.pacer import BLOCK, SECOND

Gaps = Callable[[int], NDArray[np.float64]]
"""Draws as many gaps as asked for, of mean 1."""

# 52 days: a block of such gaps still fits into an int64.
_LONGEST = 2**52


class Renewal(Blocks):
    """Gaps of mean 1 / rate; the first of them is before the first arrival.

    `begin` starts the draws, always the same ones: an arrival that lies behind is found by going through them again.
    """

    def __init__(self, begin: Callable[[], Gaps], per_second: float, size: int = BLOCK) -> None:
        super().__init__(size)
        self._begin = begin
        self._per_second = per_second
        self._start_over()

    def rate(self, elapsed: int) -> float:
        return self._per_second

    def make(self, first: int) -> Nanoseconds:
        if first < self._drawn:
            self._start_over()
        while self._drawn < first:
            self._draw()
        return self._draw()

    def _start_over(self) -> None:
        self._gaps = self._begin()
        self._drawn = 0
        self._last = 0

    def _draw(self) -> Nanoseconds:
        # Gaps are rounded before they are summed: sums of integers do not depend on where a block ends.
        gaps = np.minimum(self._gaps(self._size) * (SECOND / self._per_second), _LONGEST)
        dues = np.minimum(self._last + np.cumsum(np.rint(gaps).astype(np.int64)), FOREVER)
        self._drawn += self._size
        self._last = int(dues[-1])
        return dues


def exponential(seed: int) -> Gaps:
    """The gaps of a Poisson process: memoryless, their deviation equals their mean."""
    return _generator(seed).standard_exponential


def gamma(shape: float, seed: int) -> Gaps:
    """Of deviation 1 / sqrt(shape): a shape below 1 has bursts, 1 is `exponential`, a large one is nearly constant."""
    generator = _generator(seed)
    return lambda count: generator.standard_gamma(shape, count) / shape


def uniform(seed: int) -> Gaps:
    """Anything from 0 to 2 is as likely; the deviation is 1 / sqrt(3)."""
    generator = _generator(seed)
    return lambda count: 2 * generator.random(count)


def poisson(per_second: float, seed: int, size: int = BLOCK) -> Renewal:
    return Renewal(partial(exponential, seed), per_second, size)


def gamma_gaps(per_second: float, shape: float, seed: int, size: int = BLOCK) -> Renewal:
    return Renewal(partial(gamma, shape, seed), per_second, size)


def uniform_gaps(per_second: float, seed: int, size: int = BLOCK) -> Renewal:
    return Renewal(partial(uniform, seed), per_second, size)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))

"""Pacers other than the constant one: random gaps, piecewise linear rates, a sine, a replay."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from yais.clients.siege.schedules.pacer import BLOCK, FOREVER, BlockPacer, Pacer, cycle_starts
from yais.clients.stats.histogram import SECOND, Nanoseconds

GapDraws = Callable[[int], NDArray[np.float64]]
"""Draws as many gaps as asked for, of mean 1."""

# 52 days: a block of such gaps still fits into an int64.
_LONGEST_GAP = 2**52

_Number = TypeVar("_Number", np.int64, np.float64)

# Sums of rates come with rounding errors; an arrival this close to the end of a piece belongs to the next one.
_NEARLY = 1e-6

_GRID = 1024
# From this grid they are exact to the nanosecond.
_NEWTON_STEPS = 2

_CSV_COLUMN = "due_ns"


class RandomPacer(BlockPacer):
    """Gaps of mean 1 / rate; the first of them is before the first arrival.

    `begin` starts the draws, always the same ones: an arrival that lies behind is found by going through them again.
    """

    def __init__(self, begin: Callable[[], GapDraws], per_second: float, size: int = BLOCK) -> None:
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
        gaps = np.minimum(self._gaps(self._size) * (SECOND / self._per_second), _LONGEST_GAP)
        dues = np.minimum(self._last + np.cumsum(np.rint(gaps).astype(np.int64)), FOREVER)
        self._drawn += self._size
        self._last = int(dues[-1])
        return dues


def exponential_draws(seed: int) -> GapDraws:
    """The gaps of a Poisson process: memoryless, their deviation equals their mean."""
    return _generator(seed).standard_exponential


def gamma_draws(shape: float, seed: int) -> GapDraws:
    """Of deviation 1 / sqrt(shape): a shape below 1 has bursts, 1 is exponential, a large one nearly constant."""
    generator = _generator(seed)
    return lambda count: generator.standard_gamma(shape, count) / shape


def uniform_draws(seed: int) -> GapDraws:
    """Anything from 0 to 2 is as likely; the deviation is 1 / sqrt(3)."""
    generator = _generator(seed)
    return lambda count: 2 * generator.random(count)


def poisson_gaps(per_second: float, seed: int, size: int = BLOCK) -> RandomPacer:
    return RandomPacer(partial(exponential_draws, seed), per_second, size)


def gamma_gaps(per_second: float, shape: float, seed: int, size: int = BLOCK) -> RandomPacer:
    return RandomPacer(partial(gamma_draws, shape, seed), per_second, size)


def uniform_gaps(per_second: float, seed: int, size: int = BLOCK) -> RandomPacer:
    return RandomPacer(partial(uniform_draws, seed), per_second, size)


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


class PiecewiseLinearPacer(BlockPacer):
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
        # Where each piece begins, in time and in arrivals.
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
        dues: Nanoseconds = cycle_starts(cycles, self._period) + self._within(within)
        return dues

    def _within(self, arrivals: NDArray[np.float64]) -> Nanoseconds:
        """When these are due, each in a cycle of its own; _NEARLY is in them."""
        piece = np.searchsorted(self._arrivals_before, arrivals, side="right") - 1
        ahead = np.maximum(arrivals - _NEARLY - self._arrivals_before[piece], 0)
        seconds = _time_of(ahead, self._begins[piece], self._slopes[piece])
        offsets = np.minimum(np.rint(seconds * SECOND), self._durations[piece])
        dues: Nanoseconds = self._starts[piece] + offsets.astype(np.int64)
        return dues


def pulses(low: float, high: float, period: int, duty: float, size: int = BLOCK) -> PiecewiseLinearPacer:
    """`high` for the first `duty` of every `period` nanoseconds, then `low`."""
    length = round(period * duty)
    return PiecewiseLinearPacer([Piece(high, high, length), Piece(low, low, period - length)], repeats=True, size=size)


def steps(rates: Iterable[tuple[float, int]], size: int = BLOCK) -> PiecewiseLinearPacer:
    """Each rate for its nanoseconds; the last goes on."""
    return PiecewiseLinearPacer([Piece(rate, rate, duration) for rate, duration in rates], repeats=False, size=size)


def ramp(begin: float, end: float, duration: int, size: int = BLOCK) -> PiecewiseLinearPacer:
    """From `begin` to `end` within `duration` nanoseconds, where the rate then stays."""
    return PiecewiseLinearPacer([Piece(begin, end, duration)], repeats=False, size=size)


class SinePacer(BlockPacer):
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
        # A cycle need not hold a whole number of arrivals.
        phases = self._phase((arrivals - cycles * self._arrivals) / self._arrivals)
        return cycle_starts(cycles, self._period) + np.rint(phases * self._period).astype(np.int64)

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


class ReplayPacer(Pacer):
    """Arrivals at given times, in nanoseconds and in order: 8 bytes of memory each."""

    def __init__(self, dues: Nanoseconds) -> None:
        self.length = int(dues[-1]) + 1
        self._dues = dues

    def due(self, arrival: int) -> int | None:
        return int(self._dues[arrival]) if arrival < len(self._dues) else None

    def rate(self, elapsed: int) -> float:
        """The arrivals of the whole second that `elapsed` is in."""
        begin = elapsed - elapsed % SECOND
        first, after = np.searchsorted(self._dues, [begin, begin + SECOND])
        return float(after - first)

    def due_block(self, first: int, count: int) -> list[int]:
        block: list[int] = self._dues[first : first + count].tolist()
        return block


def read_recording(path: Path) -> Nanoseconds:
    """The arrivals that a file holds, in order: offsets, one a line, or the CSV by request of an earlier run.

    Offsets that are all integers are nanoseconds, others seconds. In a CSV, due times below 0 are those of a
    warm-up; all are then counted from the first of them. Raises ValueError for any other file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first, second = file.readline().strip(), file.readline().strip()
        columns = first.split(",")
        is_csv = _CSV_COLUMN in columns
        if not (second if is_csv else first):
            raise ValueError("its first arrival is missing")
        return _read_csv(path, columns.index(_CSV_COLUMN)) if is_csv else _read_offsets(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be replayed: {error}") from error


def _generator(seed: int) -> np.random.Generator:
    # Named, for `default_rng` may become another generator, and a seed is to mean the same arrivals for good.
    return np.random.Generator(np.random.PCG64(seed))


def _sums_before(values: NDArray[_Number]) -> NDArray[_Number]:
    return np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)[:-1]])


def _time_of(ahead: NDArray[np.float64], begin: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """The seconds t in which begin * t + slope * t**2 / 2 comes to `ahead`.

    The usual formula for the root subtracts what is nearly equal when the slope is small; this one never does.
    """
    root = begin + np.sqrt(np.maximum(begin**2 + 2 * slope * ahead, 0))
    return np.divide(2 * ahead, root, out=np.zeros_like(ahead), where=root > 0)


def _read_csv(path: Path, column: int) -> Nanoseconds:
    dues = np.loadtxt(path, np.int64, delimiter=",", quotechar='"', skiprows=1, usecols=column, ndmin=1)
    # Only a warm-up has due times below 0; a run without keeps its offset to second 0.
    return _sorted(dues - min(dues.min(), 0))


def _read_offsets(path: Path) -> Nanoseconds:
    try:
        offsets = np.loadtxt(path, np.int64, comments=None, ndmin=2)
    except ValueError:
        offsets = np.rint(np.loadtxt(path, np.float64, comments=None, ndmin=2) * SECOND)
    if offsets.shape[1] != 1:
        raise ValueError("it has more than one number a line")
    # Written so that it holds for no NaN.
    if not (offsets.min() >= 0 and offsets.max() <= FOREVER):
        raise ValueError(f"its offsets are not from 0 to {FOREVER / SECOND:,.0f} seconds")
    return _sorted(offsets[:, 0].astype(np.int64))


def _sorted(dues: Nanoseconds) -> Nanoseconds:
    ordered: Nanoseconds = np.sort(dues)
    return ordered

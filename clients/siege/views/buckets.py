"""Durations as Prometheus counts them: how many there were up to each of a few bounds."""

from functools import cache
from itertools import accumulate

import numpy as np

from yais.clients.stats.histogram import Histogram, Nanoseconds

# Seconds.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def buckets(histogram: Histogram) -> tuple[list[tuple[str, int]], float]:
    """How many durations were up to each bound, which is given as text, and the seconds of all of them together.

    A duration counts as the greatest of its slot, as in a percentile; what is not told apart from a bound is within.
    """
    durations, times = histogram.steps()
    counts = np.bincount(np.searchsorted(_edges(), durations), times, len(BOUNDS) + 1).astype(np.int64)
    names = [*map(str, BOUNDS), "+Inf"]
    return list(zip(names, accumulate(counts.tolist()), strict=True)), float((durations * times).sum() / 1e9)


@cache
def _edges() -> Nanoseconds:
    """The bounds as a histogram knows them."""
    histogram = Histogram()
    histogram.add(np.rint(np.array(BOUNDS) * 1e9).astype(np.int64))
    return histogram.steps()[0]

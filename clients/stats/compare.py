"""Comparison of two runs: how they differ, and whether that is more than chance."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from yais.clients.stats.histogram import Histogram
from yais.clients.stats.report import Interval, Report
from yais.clients.stats.statistics import design_effect, quantile_ranks, share_interval

Judgement = Literal["better", "worse", "no significant difference"]
Floats = NDArray[np.float64]

_RESAMPLES = 2000
_BLOCK = 100
# A histogram separates durations that differ by 0.1 %, and names the longest of those that it does not.
_RESOLUTION = 2.0**-10
_FEWEST_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, and between what it lies with the confidence asked for; infinite where there is no bound."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of both sides; milliseconds, requests a second, or a share of 1. `ratio` is b / a."""

    metric: str
    a: Estimate
    b: Estimate
    difference: Estimate
    ratio: Estimate

    @property
    def verdict(self) -> Judgement:
        if not (self.difference.low > 0 or self.difference.high < 0):
            return "no significant difference"
        # Of the rate more is better, of every other metric less.
        return "worse" if (self.difference.value > 0) != (self.metric == "rate") else "better"


@dataclass(frozen=True, slots=True)
class Side:
    """The runs of one side as one: their latencies, and their seconds one after the other.

    Of the seconds, only those count as `full` during all of which requests were due.
    """

    latency: Histogram
    seconds: tuple[Interval, ...]
    full: tuple[Interval, ...]
    sent: int
    failed: int

    @classmethod
    def of(cls, reports: Sequence[Report]) -> Self:
        latency = Histogram()
        for report in reports:
            latency.merge(report.latency.opened())
        full = (second for report in reports for second in report.intervals if second.second + 1 <= report.scheduled)
        seconds = chain.from_iterable(report.intervals for report in reports)
        sent, failed = (sum(getattr(report.counts, name) for report in reports) for name in ("sent", "failed"))
        return cls(latency, tuple(seconds), tuple(full), sent, failed)


def compare(a: Side, b: Side, metric: str, confidence: float = 0.95, seed: int = 0) -> Comparison:
    """`metric`: rate, errors, or a percentile as in p99.9; raises ValueError for another."""
    if metric == "rate":
        return _compare_rates(a, b, confidence, np.random.default_rng(seed))
    estimate = _estimator(metric)
    # Each side has half of the risk, so that both intervals are right together.
    one, other = (estimate(side, (1 + confidence) / 2) for side in (a, b))
    difference = Estimate(other.value - one.value, other.low - one.high, other.high - one.low)
    ratio = Estimate(*map(_ratio, (other.value, other.low, other.high), (one.value, one.high, one.low)))
    return Comparison(metric, one, other, difference, ratio)


def quantile(side: Side, percentile: float, confidence: float) -> Estimate:
    """In milliseconds; between order statistics, so whatever the distribution, of as many requests as are independent.

    How many that is shows in how unevenly those above the percentile lie over the seconds.
    """
    values, times = side.latency.steps()
    ranks = np.cumsum(times)
    total = side.latency.total
    if not total:
        return Estimate(math.nan, 0.0, math.inf)
    at = values[np.searchsorted(ranks, max(math.ceil(percentile / 100 * total), 1))]
    bursts = _bursts_from(side.seconds, int(at))
    # Kish's effective sample size, n / design effect; `scale` takes its ranks back to those of all requests.
    effective = max(int(total / bursts), 1)
    low, high = quantile_ranks(effective, percentile / 100, confidence)
    scale = total / effective
    # `steps` names the greatest duration of a slot; the one of this rank may be shorter by the slot's width.
    lower = values[np.searchsorted(ranks, max(math.floor(low * scale), 1))] * (1 - _RESOLUTION) if low else 0.0
    upper = values[np.searchsorted(ranks, min(math.ceil(high * scale), total))] if high <= effective else math.inf
    return Estimate(float(at) / 1e6, float(lower) / 1e6, float(upper) / 1e6)


def errors(side: Side, confidence: float) -> Estimate:
    """The share of what was sent that did not complete."""
    if not side.sent:
        return Estimate(math.nan, 0.0, 1.0)
    failed = [second.counts.failed for second in side.seconds]
    ended = [second.counts.failed + second.counts.completed for second in side.seconds]
    bursts = _bursts(failed, ended)
    # The share stays the same, and the interval gets as wide as that of so many independent requests.
    low, high = share_interval(round(side.failed / bursts), max(round(side.sent / bursts), 1), confidence)
    return Estimate(side.failed / side.sent, low, high)


def _estimator(metric: str) -> Callable[[Side, float], Estimate]:
    if metric == "errors":
        return errors
    if not re.fullmatch(r"p\d{1,2}(\.\d+)?", metric) or not float(metric[1:]):
        raise ValueError(f"{metric!r} cannot be compared: only percentiles (p50, p99.9), rate and errors can")
    return lambda side, confidence: quantile(side, float(metric[1:]), confidence)


def _compare_rates(a: Side, b: Side, confidence: float, random: np.random.Generator) -> Comparison:
    """By the bootstrap (B. Efron, 1979): seconds are drawn anew from those that were measured, of each side alone."""
    (one, ones), (other, others) = (_resampled_rates(side, random) for side in (a, b))
    return Comparison(
        "rate",
        _interval(one, ones, confidence),
        _interval(other, others, confidence),
        _interval(other - one, others - ones, confidence),
        # A resample of A in which nothing completed has no finite ratio.
        _interval(
            _ratio(other, one), np.divide(others, ones, where=ones > 0, out=np.full_like(ones, math.inf)), confidence
        ),
    )


def _resampled_rates(side: Side, random: np.random.Generator) -> tuple[float, Floats]:
    """The mean of the full seconds and that of many resamples; not numbers where there are too few seconds."""
    completed = np.array([second.counts.completed for second in side.full], np.float64)
    if completed.size < 2:
        return math.nan, np.full(_RESAMPLES, math.nan)
    # In blocks, which bounds the memory for runs of hours.
    blocks = [random.choice(completed, (_BLOCK, completed.size)).mean(axis=1) for _ in range(_RESAMPLES // _BLOCK)]
    return float(completed.mean()), np.concatenate(blocks)


def _interval(value: float, resampled: Floats, confidence: float) -> Estimate:
    if math.isnan(value):
        return Estimate(value, -math.inf, math.inf)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def _bursts_from(seconds: Sequence[Interval], duration: int) -> float:
    """Of those above `duration`, or of those of at least `duration`: where many are equal these are not the same."""
    steps = [second.latency.opened().steps() for second in seconds if second.latency.count]
    totals = [int(times.sum()) for _, times in steps]
    above = [int(times[values > duration].sum()) for values, times in steps]
    at_least = [int(times[values >= duration].sum()) for values, times in steps]
    return max(_bursts(above, totals), _bursts(at_least, totals))


def _bursts(overs: Sequence[int], totals: Sequence[int]) -> float:
    """Too few seconds show nothing; the requests then count as independent."""
    return design_effect(overs, totals) if len(overs) >= _FEWEST_BATCHES else 1.0


def _ratio(dividend: float, divisor: float) -> float:
    if divisor:
        return dividend / divisor
    return math.inf if dividend else math.nan

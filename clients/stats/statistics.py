"""Statistics of binomial samples: what a number of requests says about all of them, in plain Python.

Requests are taken as independent of each other, as MLPerf's LoadGen does. Neighbours in one queue are not;
`design_effect` says how far.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

# A term smaller than this share of the sum no longer changes it in double precision.
_NEGLIGIBLE = 2.0**-56


def at_most(count: int, total: int, share: float) -> float:
    """The chance that at most `count` of `total` are of a kind of which `share` of all are.

    Right to about 1e-6 of itself up to 1e8 requests, in a time that grows with the square root of `total`.
    """
    if count >= total or share <= 0:
        return 1.0 if count >= 0 else 0.0
    if count < 0 or share >= 1:
        return 0.0
    if count > total * share:
        # Above the mean the other tail is summed: its terms fall as well, and nothing cancels.
        return 1.0 - _tail(total - count - 1, total, 1 - share)
    return _tail(count, total, share)


def at_least(count: int, total: int, share: float) -> float:
    """The chance that at least `count` of `total` are of a kind of which `share` of all are."""
    return at_most(total - count, total, 1 - share)


def shows_fewer(over: int, total: int, allowed: float, risk: float) -> bool:
    """Whether `over` of `total` requests show that fewer than `allowed` of all are over, with a `risk` of being wrong.

    The criterion of MLPerf's early stopping (mlcommons/inference, loadgen/early_stopping.cc): were it as many as
    `allowed`, the chance of so few would be below `risk`, which is 1 - confidence.
    """
    return at_most(over, total, allowed) < risk


def shows_more(over: int, total: int, allowed: float, risk: float) -> bool:
    """Whether `over` of `total` requests show that more than `allowed` of all are over: the same from above."""
    return at_least(over, total, allowed) < risk


def quantile_ranks(total: int, quantile: float, confidence: float) -> tuple[int, int]:
    """Between which of `total` sorted values, counted from 1, the quantile of all lies, whatever their distribution.

    H. A. David and H. N. Nagaraja, Order Statistics, section 7.1, with at most half of the risk on each side. Rank 0
    stands for no bound from below, rank `total` + 1 for none from above: there are too few values.
    """
    risk = (1 - confidence) / 2
    # The quantile is below the r-th value only when fewer than r values are at most the quantile.
    ranks = range(total + 2)
    low = bisect_left(ranks, True, key=lambda rank: at_most(rank - 1, total, quantile) > risk) - 1
    high = bisect_left(ranks, True, key=lambda rank: at_least(rank, total, quantile) <= risk)
    return low, high


def share_interval(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Which shares of all are plausible when it was `count` of `total`: C. J. Clopper and E. S. Pearson, 1934."""
    if not total:
        return 0.0, 1.0
    risk = (1 - confidence) / 2
    # The exact interval: its ends are where `count` would just be too many, or too few, at this risk.
    low = _solve(lambda share: at_least(count, total, share) > risk) if count else 0.0
    high = _solve(lambda share: at_most(count, total, share) <= risk) if count < total else 1.0
    return low, high


def design_effect(overs: Sequence[int], totals: Sequence[int]) -> float:
    """By how much more the numbers over vary from batch to batch than those of independent requests would; at least 1.

    L. Kish's design effect (Survey Sampling, 1965), estimated from batches of one run that follow each other: so many
    times fewer independent requests would say as much.
    """
    over, total = sum(overs), sum(totals)
    if not 0 < over < total:
        return 1.0
    share = over / total
    # The variance between batches over that of a binomial of a batch's mean size, share * (1 - share) * size.
    squares = sum((part - share * whole) ** 2 for part, whole in zip(overs, totals, strict=True))
    return max(squares / (len(overs) - 1) / (share * (1 - share) * total / len(overs)), 1.0)


def _tail(count: int, total: int, share: float) -> float:
    """The sum of the binomial terms from `count` down, which fall from there: `count` is at most total * share."""
    # The binomial coefficient alone would overflow: logarithms add up first.
    term = math.exp(
        math.lgamma(total + 1)
        - math.lgamma(count + 1)
        - math.lgamma(total - count + 1)
        + count * math.log(share)
        + (total - count) * math.log1p(-share)
    )
    odds, tail = (1 - share) / share, term
    while count > 0 and term > tail * _NEGLIGIBLE:
        term *= count / (total - count + 1) * odds
        tail += term
        count -= 1
    return min(tail, 1.0)


def _solve(holds: Callable[[float], bool]) -> float:
    """The least share from which on `holds` is true."""
    low, high = 0.0, 1.0
    # 2^-60 is below what a double distinguishes next to 1.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

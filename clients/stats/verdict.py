"""Verdict on a run: whether it measured what it was asked to, and whose limit it met if not."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yais.clients.stats.report import Interval, Report

Limit = Literal["generator", "server", "cap"]

_LATE_SHARE = 0.01
_BUSY = 0.95
_SHORTEST = 5
_SIGNIFICANT = 3.0
_MATERIAL = 0.01


class SiegeExitCode(IntEnum):
    """An invalid run ends with whose limit it was; of a valid one the objectives decide, if there are any."""

    CLEAN = 0
    FAILED = 1
    # click's own.
    BAD_USAGE = 2
    GENERATOR_LIMIT = 3
    SERVER_LIMIT = 4
    MISSED = 5


_EXIT_CODES: dict[Limit, SiegeExitCode] = {
    "generator": SiegeExitCode.GENERATOR_LIMIT,
    "server": SiegeExitCode.SERVER_LIMIT,
    "cap": SiegeExitCode.SERVER_LIMIT,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`limit` is whose it was, None for a valid run; `reasons` are sentences with the figures.

    `remarks` are sentences about what does not make a run invalid, but has to be known.
    """

    valid: bool
    limit: Limit | None = None
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def judge(report: Report) -> Verdict:
    """VALID when the load was the one asked for, and the server bore it; in a closed loop there is none to miss.

    A generator that was late itself makes all else doubtful, so that its limit goes first; then the cap, which hides
    how much further the server would have fallen behind.
    """
    remarks = tuple(busy_remarks(report))
    if report.info.loop == "closed":
        return Verdict(True, remarks=remarks)
    reasons: dict[Limit, list[str]] = {
        "generator": generator_reasons(report),
        "cap": cap_reasons(report),
        "server": server_reasons(report),
    }
    limit = next((limit for limit, found in reasons.items() if found), None)
    return Verdict(limit is None, limit, tuple(reason for found in reasons.values() for reason in found), remarks)


def exit_code(report: Report, verdict: Verdict | None = None, objective_met: bool | None = None) -> SiegeExitCode:
    """That of an invalid run before all; then the objectives', where there are any; then whether all was answered."""
    if verdict is not None and verdict.limit is not None:
        return _EXIT_CODES[verdict.limit]
    if objective_met is not None:
        return SiegeExitCode.CLEAN if objective_met else SiegeExitCode.MISSED
    return SiegeExitCode.CLEAN if report.clean else SiegeExitCode.FAILED


def generator_reasons(report: Report) -> list[str]:
    """The sends came late. An event loop that has no time left makes them so; on time, it has done what was asked."""
    bound = report.info.max_lag
    p99 = report.lag.ms.get("p99", 0.0)
    share = report.lag.opened().above(round(bound * 1e6)) / max(report.lag.count, 1)
    # Which is to say that the p99 is above the bound.
    if share <= _LATE_SHARE:
        return []
    return [
        f"siege itself was late: {share:.1%} of the requests were sent more than {bound:g} ms after they were due "
        f"(at most {_LATE_SHARE:.0%} may be), and the send lag's p99 is {p99:.2f} ms"
    ]


def busy_remarks(report: Report) -> list[str]:
    busiest = max(report.info.cpu, default=0.0)
    if busiest < _BUSY:
        return []
    return [
        f"siege itself was busy: its event loop used {busiest:.0%} of a core, of which it may not have more; "
        "--processes sends from several"
    ]


def cap_reasons(report: Report) -> list[str]:
    dropped, offered = report.counts.dropped, report.counts.offered
    if not dropped:
        return []
    cap = f"{report.info.max_outstanding:,} requests" if report.info.max_outstanding else "as many as may be"
    share = f"{dropped:,} of {offered:,} requests ({dropped / offered:.1%})"
    return [f"{share} were dropped while {cap} were in flight (--max-outstanding)"]


def server_reasons(report: Report) -> list[str]:
    seconds = scheduled_seconds(report)
    offered = [second.counts.offered for second in seconds]
    in_flight = [second.in_flight for second in seconds]
    if not grows(in_flight, offered):
        return []
    return [
        f"the server fell behind: in {len(seconds) - 1} s the requests in flight grew from {in_flight[0]:,} to "
        f"{in_flight[-1]:,}, while {np.mean(offered):,.1f} a second were offered"
    ]


def scheduled_seconds(report: Report) -> Sequence[Interval]:
    """Those of the schedule, without a last one that is not whole, and without the wait for the last answers."""
    first = next((second.second for second in report.intervals if second.counts.offered), 0)
    return report.intervals[first : first + int(report.scheduled + 1e-6)]


def grows(in_flight: Sequence[int], offered: Sequence[int]) -> bool:
    """Whether requests pile up: `in_flight` at the end of each second grows, steadily, by more than chance and load.

    A queue is stable when its drift is negative wherever it is long (Foster's criterion), so the drift is tested: the
    mean of the changes from second to second, against its standard error. In a stable queue changes undo each
    other, which makes the error that assumes them independent too large, and the test careful; a single jump, as a
    stall leaves it, has as large a deviation as mean. All of this must hold:

    - the series has at least `_SHORTEST` seconds;
    - the mean change is `_SIGNIFICANT` standard errors above 0;
    - the growth is at least `_MATERIAL` of what was offered meanwhile: of a load of 110 %, a tenth piles up;
    - it did not settle: the last third has at least half of its share in the growth. (The first seconds of a slow
      server look like growth, until the first answers are in.)

    When more is offered, more is in flight (Little's law): what is proportional to a steady rise or fall of `offered`
    is taken out first, so that a ramp is not taken for a queue. It changes nothing at a constant rate.
    """
    if len(in_flight) < _SHORTEST:
        return False
    excess = _excess(np.array(in_flight, float), np.array(offered, float))
    changes = np.diff(excess)
    growth = float(excess[-1] - excess[0])
    error = float(changes.std(ddof=1)) * len(changes) ** 0.5
    last = excess[-1] - excess[-1 - len(changes) // 3]
    return (
        growth > _SIGNIFICANT * error
        and growth > _MATERIAL * sum(offered[1:])
        and last > growth * (len(changes) // 3 / len(changes)) / 2
    )


def _excess(in_flight: NDArray[np.float64], offered: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of `in_flight` that the load explains no more, at the latency of the run's better seconds."""
    seconds = np.arange(offered.size)
    slope, level = np.polyfit(seconds, offered, 1)
    load = (level + slope * seconds).clip(0)
    loaded = load > 0
    latency = float(np.quantile(in_flight[loaded] / load[loaded], 0.25)) if loaded.any() else 0.0
    excess: NDArray[np.float64] = in_flight - latency * load
    return excess

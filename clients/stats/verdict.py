"""Verdict on a run: whether everything was answered, and whether the load was the one asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yais.clients.stats.report import Interval, Report, RunInfo

Limit = Literal["generator", "server", "cap"]
Result = Literal["valid", "failed", "invalid"]

# Shares: of requests that may be late, of one core's time, of the time of all cores.
_LATE_SHARE = 0.01
_BUSY = 0.95
_CROWDED = 0.8
# Seconds, standard errors, and a share of what was offered: see `grows`.
_SHORTEST = 5
_SIGNIFICANT = 3.0
_MATERIAL = 0.01


class SiegeExitCode(IntEnum):
    """That of an invalid run names its limit; objectives decide of any other, where there are some."""

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
    # Requests are dropped while --max-outstanding of them wait for the server: the limit is its own as well.
    "cap": SiegeExitCode.SERVER_LIMIT,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`valid`: the load was the one asked for, and was answered; `failed`: some of it was not; `invalid`: not the load.

    `limit` is what made a run invalid. `failures` and `reasons` are sentences with the figures, `remarks` sentences
    about what changes nothing, but has to be known.
    """

    result: Result
    limit: Limit | None = None
    failures: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def judge(report: Report, objectives_met: bool | None = None) -> Verdict:
    """Objectives that are met allow what failed; in a closed loop there is no load to miss.

    A generator that was late itself makes all else doubtful, so that its limit goes first; then the cap, which hides
    how much further the server would have fallen behind.
    """
    reasons: dict[Limit, list[str]] = {}
    if report.info.loop == "open":
        reasons = {
            "generator": generator_reasons(report),
            "cap": cap_reasons(report),
            "server": server_reasons(report),
        }
    limit = next((limit for limit, found in reasons.items() if found), None)
    failures = tuple(failure_reasons(report))
    return Verdict(
        result="invalid" if limit else "failed" if failures and not objectives_met else "valid",
        limit=limit,
        failures=failures,
        reasons=tuple(reason for found in reasons.values() for reason in found),
        # A late generator has the same sentence among its reasons.
        remarks=() if limit == "generator" else tuple(busy_remarks(report.info)),
    )


def exit_code(verdict: Verdict, objectives_met: bool | None = None) -> SiegeExitCode:
    """That of an invalid run before all; then the objectives', where there are any; then whether anything failed."""
    if verdict.limit is not None:
        return _EXIT_CODES[verdict.limit]
    if objectives_met is not None:
        return SiegeExitCode.CLEAN if objectives_met else SiegeExitCode.MISSED
    return SiegeExitCode.FAILED if verdict.result == "failed" else SiegeExitCode.CLEAN


def failure_reasons(report: Report) -> list[str]:
    """What failed, what was said most often, and lost connections; the last are no failure by themselves."""
    counts = report.counts
    if not counts.failed:
        return []
    outcomes = ", ".join(f"{count:,} {name}" for name, count in counts.failed_by_outcome.items())
    sentences = [
        f"{counts.failed:,} of {counts.sent:,} requests failed ({counts.failed / counts.sent:.1%}): {outcomes}"
    ]
    if report.failures:
        most = report.failures[0]
        sentences.append(f"most often, {most.count:,} times: {most.status}: {most.text}")
    if lost := report.info.connections_lost:
        sentences.append(f"siege lost its connection to the server {lost:,} {'time' if lost == 1 else 'times'}")
    return sentences


def generator_reasons(report: Report) -> list[str]:
    """The sends came late, with the likely cause and what to do about it.

    An event loop that has no time left makes them so; on time, it has done what was asked.
    """
    bound = report.info.max_lag
    p99 = report.lag.ms.get("p99", 0.0)
    share = report.lag.opened().above(round(bound * 1e6)) / max(report.lag.count, 1)
    if share <= _LATE_SHARE:
        return []
    # Of few requests the p99 may be that of one that was on time, and below the bound.
    accepting = _next_bound(max(p99, bound))
    return [
        f"siege itself was late: it sent {share:.1%} of the requests more than {bound:g}ms after they were due "
        f"(at most {_LATE_SHARE:.0%} may be); the send lag's p99 is {p99:.2f} ms",
        *_late_causes(report.info),
        f"--max-lag {accepting} accepts that much: latencies count from the due time, and include the lag",
    ]


def _late_causes(info: RunInfo) -> list[str]:
    """The likely one, with what helps."""
    if max(info.cpu, default=0.0) >= _BUSY:
        return busy_remarks(info)
    if info.cores is None or info.busy_cores is None:
        return []
    own = sum(info.cpu)
    # The machine's clock has ticks of 10 ms, a thread's is exact: the difference may come out below 0.
    used = f"siege used {own:.2f} cores, everything else {max(info.busy_cores - own, 0):.2f}, of {info.cores}"
    if info.busy_cores < _CROWDED * info.cores:
        return [f"{used}: there was time left, but siege did not get it at once; a core of its own helps (taskset)"]
    return [
        f"{used}: siege shares its cores with the server or others; run it on another machine, give each cores of its "
        "own (taskset -c 0 inference-grpc ..., taskset -c 1 siege ...), or lower the rate"
    ]


def _next_bound(p99: float) -> str:
    """A round duration that is well above the milliseconds."""
    power = 10.0 ** math.floor(math.log10(p99))
    # 30 % of room: the p99 of the next run will be a little different.
    return f"{next(step * power for step in (2, 5, 10, 20) if step * power >= 1.3 * p99):g}ms"


def busy_remarks(info: RunInfo) -> list[str]:
    busiest = max(info.cpu, default=0.0)
    if busiest < _BUSY:
        return []
    return [
        f"siege itself was busy: its event loop used {busiest:.0%} of a core, and cannot use more; --processes sends "
        "from several cores"
    ]


def cap_reasons(report: Report) -> list[str]:
    dropped, offered = report.counts.dropped, report.counts.offered
    if not dropped:
        return []
    cap = f"{report.info.max_outstanding:,} requests" if report.info.max_outstanding else "as many as allowed"
    share = f"{dropped:,} of {offered:,} requests ({dropped / offered:.1%})"
    return [f"siege dropped {share}, because {cap} were in flight (--max-outstanding)"]


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
    # A duration of whole seconds may come out a little short of them.
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
    # Growth is the sum of n changes, whose standard error is their deviation times the root of n.
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
    # Little's law, W = L / lambda, of each second. The lower quartile, for the seconds in which a queue has formed
    # would explain that queue away.
    latency = float(np.quantile(in_flight[loaded] / load[loaded], 0.25)) if loaded.any() else 0.0
    excess: NDArray[np.float64] = in_flight - latency * load
    return excess

"""How punctually schedules are kept: generators measured in turn, and the rows of figures that come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measure import Size, Spread, Subject
from bench.rounds import Bound, metered
from bench.siege.command import besiege
from yais.clients.stats.verdict import judge


@dataclass(frozen=True, slots=True)
class Sending:
    """One schedule, as it was kept. `achieved` is the rate of the sends, of that of the schedule; lags in milliseconds.

    `busy` is the share of its core that the generator had, `others` that which went to processes that have no part in
    this. `is_valid` is siege's own verdict.
    """

    achieved: float
    lag_p50: float
    lag_p99: float
    lag_max: float
    busy: float
    others: float
    is_valid: bool | None = None


Send = Callable[[int], Sending]
"""Goes through a schedule of so many requests."""


@dataclass(frozen=True, slots=True)
class Generator:
    """Who sends what; `part` is how many of a round's requests those are.

    `most_lag` bounds the p99 of its lag, in milliseconds; `must_be_valid` asks for siege's own verdict.
    """

    case: str
    name: str
    rate: float
    send: Send
    part: float = 1
    least_achieved: float | None = None
    most_lag: float | None = None
    must_be_valid: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What a generator did in all rounds. `valid` is in how many siege called its own run valid, None for others."""

    case: str
    name: str
    rate: float
    requests: int
    achieved: Spread
    lag_p50: Spread
    lag_p99: Spread
    lag_max: Spread
    busy: Spread
    others: Spread
    valid: int | None
    rounds: int
    achieved_bound: Bound | None
    lag_bound: Bound | None
    must_be_valid: bool


def compare(generators: Sequence[Generator], size: Size) -> list[Row]:
    """Measures all of them in turn."""
    rounds = [[one.send(_requests(one, size)) for one in generators] for _ in range(size.rounds)]
    return [
        _row(one, _requests(one, size), sendings)
        for one, sendings in zip(generators, zip(*rounds, strict=True), strict=True)
    ]


def siege(server: Subject, rate: float, *options: str) -> Send:
    """An open loop of siege, warmed up for half a second, that may have more in flight than is usual."""
    shape = ("--connections", "4", "--max-outstanding", "20000", "--warmup", "0.5", "--rate", f"{rate:g}", *options)

    def send(requests: int) -> Sending:
        report, spent = metered(server, lambda: besiege(server.port, *shape, "--count", str(requests)))
        lag, scheduled = report.lag.ms, report.counts.offered / report.scheduled
        return Sending(
            report.rate_sent / scheduled,
            lag["p50"],
            lag["p99"],
            lag["max"],
            sum(report.info.cpu),
            spent.others_share,
            judge(report).valid,
        )

    return send


def _requests(generator: Generator, size: Size) -> int:
    return max(1, round(size.requests * generator.part))


def _row(one: Generator, requests: int, sendings: Sequence[Sending]) -> Row:
    verdicts = [sending.is_valid for sending in sendings if sending.is_valid is not None]
    return Row(
        one.case,
        one.name,
        one.rate,
        requests,
        achieved=Spread.of([sending.achieved for sending in sendings]),
        lag_p50=Spread.of([sending.lag_p50 for sending in sendings]),
        lag_p99=Spread.of([sending.lag_p99 for sending in sendings]),
        lag_max=Spread.of([sending.lag_max for sending in sendings]),
        busy=Spread.of([sending.busy for sending in sendings]),
        others=Spread.of([sending.others for sending in sendings]),
        valid=sum(verdicts) if verdicts else None,
        rounds=len(sendings),
        achieved_bound=None if one.least_achieved is None else Bound("at least", one.least_achieved),
        lag_bound=None if one.most_lag is None else Bound("at most", one.most_lag),
        must_be_valid=one.must_be_valid,
    )

"""Report of a run: text, files and verdicts are functions of it, or of its JSON."""

from dataclasses import dataclass, field
from typing import Literal, Self

from yais.clients.stats.histogram import Histogram, decode_histogram, encode_histogram
from yais.clients.stats.outcomes import STATUS_NAMES, Counts, failures
from yais.clients.stats.recorder import Tally, TimeSpan

Loop = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a tally does not know of its run.

    In a `closed` loop the next request waits for an answer; there is no rate that was asked for and no due time.
    `rate_asked`: requests a second, on average, where there is one; `started`: ISO 8601 in UTC; `kinds`: names of a
    mix's models; `max_lag`: the send lag that makes the run invalid, in milliseconds; `cpu`: the share of a core that
    the event loop of each sending process used; `addresses`: requests that were sent to each address, the warm-up's
    and those that were sent again included; `connections_lost`: how often a connection that was up went down;
    `cores`: of the machine, and `busy_cores`: how many of them all processes together kept busy, on average.
    """

    command: str = ""
    target: str = ""
    schedule: str = ""
    loop: Loop = "open"
    rate_asked: float | None = None
    seed: int | None = None
    started: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    max_outstanding: int | None = None
    max_lag: float = 1.0
    cpu: tuple[float, ...] = ()
    addresses: dict[str, int] = field(default_factory=dict)
    connections_lost: int = 0
    cores: int | None = None
    busy_cores: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of failure: the status, what was said, and how often."""

    status: str
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """Durations: how many, their mean and percentiles in milliseconds (empty without data), and an HdrHistogram."""

    count: int
    mean: float
    ms: dict[str, float]
    histogram: str

    @classmethod
    def of(cls, histogram: Histogram) -> Self:
        # Histograms count nanoseconds, reports give milliseconds.
        return cls(histogram.total, histogram.mean() / 1e6, histogram.percentiles(), encode_histogram(histogram))

    @classmethod
    def packed(cls, text: str) -> Self:
        """That of a histogram in its text form."""
        histogram = decode_histogram(text)
        return cls(histogram.total, histogram.mean() / 1e6, histogram.percentiles(), text)

    def opened(self) -> Histogram:
        return decode_histogram(self.histogram)


@dataclass(frozen=True, slots=True)
class Interval:
    """A second of the run. `in_flight` at its end; `latency` of what completed in it.

    What was due in it counts as offered or dropped, what was sent in it as sent, what ended in it by its outcome:
    they add up over the run, not within a second.
    """

    second: int
    counts: Counts
    in_flight: int
    latency: Distribution


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model of a mix."""

    name: str
    counts: Counts
    latency: Distribution


@dataclass(frozen=True, slots=True)
class Report:
    """The counts, which add up always, and where the time went.

    Seconds: `scheduled` from the first due time to where the next arrival would have been; `elapsed` the same, or to
    the last answer when that came later. Rates are per second. `latency` (from due to done) and `service` (from sent to
    done) are of what was completed, `lag` (from due to sent) of all that was sent. `statuses` counts what did not
    complete. `warm_up` requests were sent before, and count nowhere else.
    """

    info: RunInfo
    counts: Counts
    statuses: dict[str, int]
    failures: tuple[Failure, ...]
    warm_up: int
    scheduled: float
    elapsed: float
    rate_sent: float
    rate_answered: float
    latency: Distribution
    service: Distribution
    lag: Distribution
    intervals: tuple[Interval, ...]
    kinds: tuple[ModelReport, ...]

    @property
    def clean(self) -> bool:
        """Whether all that was offered was sent and answered."""
        # Not `sent`: a run that dropped a request is not clean either.
        return self.counts.completed == self.counts.offered


def summarise(tally: Tally, info: RunInfo | None = None) -> Report:
    counts, span, seconds = tally.counts, tally.span, tally.seconds
    # n arrivals are n - 1 gaps apart; the n-th gap belongs to the schedule too, or short runs would seem too fast.
    spread = 0 if span.first_due is None else span.last_due - span.first_due
    scheduled = spread * counts.offered / max(counts.offered - 1, 1) / 1e9
    elapsed = _elapsed(span, span.last_done, scheduled)
    rows = zip(seconds.counts(), seconds.in_flight(), seconds.latencies(), strict=True)
    names = info.kinds if info else ()
    # A single model is the whole run.
    # In the order of --mix: the tally has them in the order of their first requests.
    kinds = tuple(
        ModelReport(names[number], scenario.counts, Distribution.of(scenario.latency))
        for number, scenario in (sorted(tally.kinds.items()) if len(names) > 1 else ())
    )
    return Report(
        info=info or RunInfo(),
        counts=counts,
        statuses=failures(tally.statuses),
        failures=tuple(Failure(STATUS_NAMES[status], text, n) for (status, text), n in tally.texts.most_common()),
        warm_up=tally.warm_up,
        scheduled=scheduled,
        elapsed=elapsed,
        # Until the last send and not the last answer: a slow server does not lower the rate that was sent.
        rate_sent=_rate(counts.sent, _elapsed(span, span.last_sent, scheduled)),
        rate_answered=_rate(counts.completed, elapsed),
        latency=Distribution.of(tally.latency),
        service=Distribution.of(tally.service),
        lag=Distribution.of(tally.lag),
        intervals=tuple(
            Interval(second, ended, in_flight, Distribution.packed(latency))
            for second, (ended, in_flight, latency) in enumerate(rows)
        ),
        kinds=kinds,
    )


def _elapsed(span: TimeSpan, end: int, scheduled: float) -> float:
    return scheduled if span.first_due is None else max(scheduled, (end - span.first_due) / 1e9)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0

"""What a run's records add up to. Arithmetic only; `rendering` makes text of it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yais.clients.records import HELD_BACK, OK, STATUS_NAMES, Records

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

Nanoseconds = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of failure: the status, what was said, and how often."""

    status: str
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """`offered = sent + held_back` and `sent = completed + failed`, always.

    `elapsed` is in seconds: from the first due time to the last answer, or to where the next arrival would have been.
    Rates are per second; `rate_asked` is None for a closed loop, which has none. The distributions are milliseconds by
    the names in `QUANTILES`, empty without data: `latency` (from due to done) and `service` (from sent to done) of what
    was completed, `lag` (from due to sent) of all that was sent.
    """

    offered: int
    sent: int
    held_back: int
    completed: int
    failed: int
    failed_by_status: dict[str, int]
    failures: tuple[Failure, ...]
    elapsed: float
    rate_asked: float | None
    rate_sent: float
    rate_answered: float
    latency: dict[str, float]
    service: dict[str, float]
    lag: dict[str, float]

    @property
    def clean(self) -> bool:
        """Whether all that was offered was sent and answered."""
        return self.completed == self.offered


def summarise(records: Records, rate_asked: float | None = None) -> Report:
    due, sent, done = (np.array(column, np.int64) for column in (records.due, records.sent, records.done))
    status = np.array(records.status, np.int8)
    was_sent, completed = status != HELD_BACK, status == OK
    by_status = _by_status(status)
    elapsed = _elapsed(due, done)
    return Report(
        offered=len(status),
        sent=int(was_sent.sum()),
        held_back=int((~was_sent).sum()),
        completed=int(completed.sum()),
        failed=sum(by_status.values()),
        failed_by_status=by_status,
        failures=_failures(records.texts),
        elapsed=elapsed,
        rate_asked=rate_asked,
        rate_sent=_rate(int(was_sent.sum()), _elapsed(due, sent)),
        rate_answered=_rate(int(completed.sum()), elapsed),
        latency=percentiles((done - due)[completed]),
        service=percentiles((done - sent)[completed]),
        lag=percentiles((sent - due)[was_sent]),
    )


def percentiles(durations: Nanoseconds) -> dict[str, float]:
    """Exact ones, each of them a duration that was measured: the least that covers the quantile; in milliseconds."""
    if not durations.size:
        return {}
    values = np.quantile(durations, list(QUANTILES.values()), method="inverted_cdf") / 1e6
    return dict(zip(QUANTILES, values.tolist(), strict=True))


def _by_status(status: NDArray[Any]) -> dict[str, int]:
    counts = Counter(status[(status != OK) & (status != HELD_BACK)].tolist())
    return {STATUS_NAMES[number]: count for number, count in counts.most_common()}


def _failures(texts: Counter[tuple[int, str]]) -> tuple[Failure, ...]:
    return tuple(Failure(STATUS_NAMES[number], text, count) for (number, text), count in texts.most_common())


def _elapsed(due: Nanoseconds, ends: Nanoseconds) -> float:
    if not due.size:
        return 0.0
    first, spread = int(due.min()), int(due.max() - due.min())
    # n arrivals are n - 1 gaps apart; the n-th gap belongs to the schedule too, or short runs would seem too fast.
    schedule = spread * due.size / max(due.size - 1, 1)
    return max(schedule, int(ends.max()) - first) / 1e9


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0

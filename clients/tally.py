"""What a run's records add up to, in memory that does not grow with their number."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from yais.clients.chunk import Chunk
from yais.clients.histogram import Histogram
from yais.clients.outcomes import HELD_BACK, LOWEST_STATUS, OK, OUTCOMES, STATUSES, Counts, outcome_numbers
from yais.clients.seconds import Seconds

Failed = tuple[int, int, str]
"""When a request was due, how it ended, and what was said about that."""

_DISTINCT_TEXTS = 16
_OTHER_TEXTS = "(other texts)"


@dataclass(slots=True)
class Kind:
    """One of a mix: how often each status came, beginning with `LOWEST_STATUS`, and the latencies."""

    statuses: NDArray[np.int64] = field(default_factory=lambda: np.zeros(STATUSES, np.int64))
    late: int = 0
    latency: Histogram = field(default_factory=Histogram)

    @property
    def counts(self) -> Counts:
        outcomes = outcome_numbers(np.arange(LOWEST_STATUS, LOWEST_STATUS + STATUSES, dtype=np.int8))
        weights = np.bincount(outcomes, self.statuses, len(OUTCOMES))
        return Counts.of(weights.astype(np.int64), self.late)

    def merge(self, other: "Kind") -> None:
        self.statuses = self.statuses + other.statuses
        self.late += other.late
        self.latency.merge(other.latency)


@dataclass(slots=True)
class Span:
    """The times between which everything happened; None before anything did."""

    first_due: int | None = None
    last_due: int = 0
    last_sent: int = 0
    last_done: int = 0

    def cover(self, first_due: int, last_due: int, last_sent: int, last_done: int) -> None:
        self.first_due = first_due if self.first_due is None else min(self.first_due, first_due)
        self.last_due = max(self.last_due, last_due)
        self.last_sent = max(self.last_sent, last_sent)
        self.last_done = max(self.last_done, last_done)


class Tally:
    """Counts by outcome and histograms: over the run, by second, and by kind. Tallies of several processes merge.

    `latency` (from due to done) and `service` (from sent to done) are those of what was completed, `lag` (from due to
    sent) that of all that was sent. `start` is where second 0 begins; what was due before is a warm-up, and only
    counted as `warm_up`. What completed more than `late_after` ns after it was due is late.
    """

    def __init__(self, start: int | None = None, late_after: int | None = None) -> None:
        self.start = start
        self.late_after = late_after
        self.warm_up = 0
        self.kinds: dict[int, Kind] = {}
        self.service = Histogram()
        self.lag = Histogram()
        self.seconds = Seconds()
        self.span = Span()
        self.texts: Counter[tuple[int, str]] = Counter()

    @property
    def statuses(self) -> NDArray[np.int64]:
        return self.total().statuses

    @property
    def counts(self) -> Counts:
        return self.total().counts

    @property
    def latency(self) -> Histogram:
        return self.total().latency

    def total(self) -> Kind:
        """All kinds as one."""

        def add(total: Kind, kind: Kind) -> Kind:
            total.merge(kind)
            return total

        return reduce(add, self.kinds.values(), Kind())

    def fold(self, chunk: Chunk) -> None:
        """Counts what is in `chunk`."""
        if self.start is None and chunk.size:
            self.start = int(chunk.due.min())
        if self.start is not None and chunk.size and int(chunk.due.min()) < self.start:
            early = chunk.due < self.start
            self.warm_up += int(early.sum())
            self.seconds.carry(chunk.only(early), self.start)
            chunk = chunk.only(~early)
        if self.start is not None and chunk.size:
            self._count(chunk, self.start)

    def fail(self, failures: Iterable[Failed]) -> None:
        """Counts what failures said. Texts may carry ids or addresses; what is kept must not grow with the run."""
        self._say(Counter((status, text) for due, status, text in failures if self.start is None or due >= self.start))

    def merge(self, other: "Tally") -> None:
        """Counts what `other` has counted; raises ValueError when their seconds began at different times."""
        if other.start is None:
            return
        if self.start not in (None, other.start):
            raise ValueError(f"tallies of runs that began at {self.start} and {other.start} ns cannot be merged")
        self.start = other.start
        self.warm_up += other.warm_up
        for number, kind in other.kinds.items():
            self.kinds.setdefault(number, Kind()).merge(kind)
        self.service.merge(other.service)
        self.lag.merge(other.lag)
        self.seconds.merge(other.seconds)
        if other.span.first_due is not None:
            self.span.cover(other.span.first_due, other.span.last_due, other.span.last_sent, other.span.last_done)
        self._say(other.texts)

    def _say(self, texts: Counter[tuple[int, str]]) -> None:
        for (status, text), times in texts.items():
            known = len(self.texts) < _DISTINCT_TEXTS or (status, text) in self.texts
            self.texts[status, text if known else _OTHER_TEXTS] += times

    def _count(self, chunk: Chunk, start: int) -> None:
        late = self._late(chunk)
        completed, was_sent = chunk.status == OK, chunk.status != HELD_BACK
        self.seconds.count(chunk, start, late)
        self.span.cover(*map(int, (chunk.due.min(), chunk.due.max(), chunk.sent.max(), chunk.done.max())))
        self.service.add((chunk.done - chunk.sent)[completed])
        self.lag.add((chunk.sent - chunk.due)[was_sent])
        for number in np.flatnonzero(np.bincount(chunk.kind)).tolist():
            of_kind = chunk.kind == number
            kind = self.kinds.setdefault(number, Kind())
            kind.statuses += np.bincount(chunk.status[of_kind].astype(np.intp) - LOWEST_STATUS, minlength=STATUSES)
            kind.late += int(late[of_kind].sum())
            kind.latency.add((chunk.done - chunk.due)[completed & of_kind])

    def _late(self, chunk: Chunk) -> NDArray[np.bool_]:
        if self.late_after is None:
            return np.zeros(chunk.size, np.bool_)
        late: NDArray[np.bool_] = (chunk.status == OK) & (chunk.done - chunk.due > self.late_after)
        return late

"""Recorder of requests: one entry for each, which it folds into counts and histograms of bounded memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from yais.clients.stats.histogram import SECOND, Histogram, Nanoseconds, decode_histogram, encode_histogram
from yais.clients.stats.outcomes import (
    DROPPED,
    LOWEST_STATUS,
    OK,
    OUTCOMES,
    STATUSES,
    WRONG,
    Counts,
    outcome_numbers,
)

# To count a batch keeps everything else waiting, and shows as a send lag: a quarter of what it is with 8,192 at a time,
# for less than a tenth of a microsecond more a request.
_BATCH = 2048
# To write a request down costs more than to count it: less at a time.
_BATCH_FOR_SINK = 1024

FailureRecord = tuple[int, int, str]
"""When a request was due, how it ended, and what was said about that."""

# A text may hold an address or an id, so that each is another: only so many are kept, for memory's sake.
_DISTINCT_TEXTS = 16
_OTHER_TEXTS = "(other texts)"

_DROPPED = OUTCOMES.index("dropped")
# Columns of the table by second: first the outcomes, then these.
_OFFERED, _SENT, _LATE, _CARRIED = range(len(OUTCOMES), len(OUTCOMES) + 4)
_COLUMNS = _CARRIED + 1


class RecordBatch(NamedTuple):
    """One entry a request, in the order in which they ended; times are nanoseconds of the monotonic clock.

    `due`: when the request had to be sent; `sent`: when it was; `done`: when its answer was in; `status`: gRPC's
    number, WRONG, or DROPPED for one that was never sent, where `sent` and `done` equal `due`; `kind`: which of a
    mix it was.
    """

    due: Nanoseconds
    sent: Nanoseconds
    done: Nanoseconds
    status: NDArray[np.int8]
    kind: NDArray[np.int32]

    @classmethod
    def of(cls, entries: Sequence[int]) -> Self:
        """From the numbers of all entries, one entry after the other."""
        due, sent, done, status, kind = np.ascontiguousarray(
            np.array(entries, np.int64).reshape(-1, len(cls._fields)).T
        )
        return cls(due, sent, done, status.astype(np.int8), kind.astype(np.int32))

    @property
    def size(self) -> int:
        return self.due.size

    def only(self, wanted: NDArray[np.bool_]) -> "RecordBatch":
        return RecordBatch(
            self.due[wanted], self.sent[wanted], self.done[wanted], self.status[wanted], self.kind[wanted]
        )


Sink = Callable[[RecordBatch, int], None]


@dataclass(slots=True)
class Scenario:
    """One of a mix: how often each status came, beginning with `LOWEST_STATUS`, and the latencies."""

    statuses: NDArray[np.int64] = field(default_factory=lambda: np.zeros(STATUSES, np.int64))
    late: int = 0
    latency: Histogram = field(default_factory=Histogram)

    @property
    def counts(self) -> Counts:
        outcomes = outcome_numbers(np.arange(LOWEST_STATUS, LOWEST_STATUS + STATUSES, dtype=np.int8))
        weights = np.bincount(outcomes, self.statuses, len(OUTCOMES))
        return Counts.of(weights.astype(np.int64), self.late)

    def merge(self, other: "Scenario") -> None:
        self.statuses = self.statuses + other.statuses
        self.late += other.late
        self.latency.merge(other.latency)


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
        self.kinds: dict[int, Scenario] = {}
        self.service = Histogram()
        self.lag = Histogram()
        self.seconds = Seconds()
        self.span = TimeSpan()
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

    def total(self) -> Scenario:
        """All kinds as one."""

        def add(total: Scenario, kind: Scenario) -> Scenario:
            total.merge(kind)
            return total

        return reduce(add, self.kinds.values(), Scenario())

    def fold(self, batch: RecordBatch) -> None:
        """Counts what is in `batch`."""
        if self.start is None and batch.size:
            self.start = int(batch.due.min())
        if self.start is not None and batch.size and int(batch.due.min()) < self.start:
            early = batch.due < self.start
            self.warm_up += int(early.sum())
            self.seconds.carry(batch.only(early), self.start)
            batch = batch.only(~early)
        if self.start is not None and batch.size:
            self._count(batch, self.start)

    def fail(self, failures: Iterable[FailureRecord]) -> None:
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
            self.kinds.setdefault(number, Scenario()).merge(kind)
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

    def _count(self, batch: RecordBatch, start: int) -> None:
        completed, was_sent = batch.status == OK, batch.status != DROPPED
        late = np.zeros(batch.size, np.bool_)
        if self.late_after is not None:
            late = completed & (batch.done - batch.due > self.late_after)
        self.seconds.count(batch, start, late)
        self.span.cover(*map(int, (batch.due.min(), batch.due.max(), batch.sent.max(), batch.done.max())))
        self.service.add((batch.done - batch.sent)[completed])
        self.lag.add((batch.sent - batch.due)[was_sent])
        for number in np.flatnonzero(np.bincount(batch.kind)).tolist():
            of_kind = batch.kind == number
            kind = self.kinds.setdefault(number, Scenario())
            kind.statuses += np.bincount(batch.status[of_kind].astype(np.intp) - LOWEST_STATUS, minlength=STATUSES)
            kind.late += int(late[of_kind].sum())
            kind.latency.add((batch.done - batch.due)[completed & of_kind])


class Recorder:
    """Takes one entry a request, when it has ended, and keeps only what they add up to; times as in a `RecordBatch`.

    `late_after` as in a `Tally`. `sink` is for what shall see each request: it gets every batch before it is forgotten,
    and when second 0 began.
    """

    def __init__(self, *, late_after: int | None = None, sink: Sink | None = None) -> None:
        self._tally = Tally(late_after=late_after)
        self._sink = sink
        self._full = (_BATCH if sink is None else _BATCH_FOR_SINK) * len(RecordBatch._fields)
        self._clear()

    @property
    def tally(self) -> Tally:
        """What all entries until now add up to."""
        self._fold()
        return self._tally

    def start(self, at: int) -> None:
        """Second 0 begins `at`; what is due before is a warm-up. Without it, the earliest due time is the start."""
        self._tally.start = at

    def add(self, due: int, sent: int, done: int, status: int = OK, kind: int = 0) -> None:
        # One list of all numbers: an array for each column would take twice as long.
        self._entries.extend((due, sent, done, status, kind))
        if len(self._entries) >= self._full:
            self._fold()

    def add_failure(self, due: int, sent: int, done: int, status: int, text: str, kind: int = 0) -> None:
        """`status` is gRPC's number."""
        self._failures.append((due, status, text))
        self.add(due, sent, done, status, kind)

    def add_wrong(self, due: int, sent: int, done: int, text: str, kind: int = 0) -> None:
        """An answer that is not what was expected; `text` says why."""
        self.add_failure(due, sent, done, WRONG, text, kind)

    def drop(self, due: int, kind: int = 0) -> None:
        self.add(due, due, due, DROPPED, kind)

    def _fold(self) -> None:
        batch, failures = RecordBatch.of(self._entries), self._failures
        # Cleared first: what is folded is not to be counted twice if that fails.
        self._clear()
        self._tally.fold(batch)
        self._tally.fail(failures)
        if self._sink is not None and self._tally.start is not None:
            self._sink(batch, self._tally.start)

    def _clear(self) -> None:
        self._entries: list[int] = []
        self._failures: list[FailureRecord] = []


@dataclass(slots=True)
class TimeSpan:
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


class Seconds:
    """What was due, was sent, and ended in each second, and the latencies of what completed in it.

    The latencies of a second are packed when the next one begins, to some 2 KB: all that grows with a run's length.
    """

    def __init__(self) -> None:
        self._table = np.zeros((0, _COLUMNS), np.int64)
        self._packed: dict[int, str] = {}
        self._second = -1
        self._histogram = Histogram()

    def __len__(self) -> int:
        return len(self._table)

    def count(self, batch: RecordBatch, start: int, late: NDArray[np.bool_]) -> None:
        """What of `batch` was due at `start` or later, all of it; `late` marks those that were."""
        due, sent, done = ((column - start) // SECOND for column in (batch.due, batch.sent, batch.done))
        completed = batch.status == OK
        self._add(due, _OFFERED)
        self._add(sent[batch.status != DROPPED], _SENT)
        self._add(done, outcome_numbers(batch.status))
        self._add(done[late], _LATE)
        ends, latencies = done[completed], (batch.done - batch.due)[completed]
        # In ascending order, so that each second's histogram is unpacked at most once a batch.
        for second in np.flatnonzero(np.bincount(ends)).tolist():
            self._at(second).add(latencies[ends == second])

    def carry(self, batch: RecordBatch, start: int) -> None:
        """What was due before `start` was in flight until it ended, and is not counted otherwise."""
        ends = (batch.done - start) // SECOND
        # What ended before second 0 was never in flight at the end of a second.
        ends = ends[ends >= 0]
        self._add(np.zeros_like(ends), _CARRIED)
        self._add(ends, _CARRIED, -1)

    def merge(self, other: "Seconds") -> None:
        self._reserve(len(other))
        self._table[: len(other)] += other._table
        for second, text in other._texts():
            self._at(second).merge(decode_histogram(text))

    def counts(self) -> list[Counts]:
        """Of each second; what was due in one may have been sent in another and have ended in a third."""
        return [
            # The outcomes are the first columns; zip() leaves out the others.
            Counts(row[_OFFERED], row[_SENT], late=row[_LATE], **dict(zip(OUTCOMES, row, strict=False)))
            for row in self._table.tolist()
        ]

    def in_flight(self) -> list[int]:
        """At the end of each second."""
        # What was dropped has an outcome, but never was in flight.
        ended = self._table[:, : len(OUTCOMES)].sum(axis=1) - self._table[:, _DROPPED]
        in_flight: list[int] = np.cumsum(self._table[:, _SENT] - ended + self._table[:, _CARRIED]).tolist()
        return in_flight

    def latencies(self) -> list[str]:
        """Of what completed in each second, in HdrHistogram's text form."""
        packed, empty = dict(self._texts()), encode_histogram(Histogram())
        return [packed.get(second, empty) for second in range(len(self))]

    def _add(self, seconds: Nanoseconds, columns: int | NDArray[np.intp], times: int = 1) -> None:
        if seconds.size:
            self._reserve(int(seconds.max()) + 1)
            # Not `+=`, which would count a second once, however often it is among the indices.
            np.add.at(self._table.reshape(-1), seconds * _COLUMNS + columns, times)

    def _reserve(self, seconds: int) -> None:
        if seconds > len(self):
            self._table = np.pad(self._table, ((0, seconds - len(self)), (0, 0)))

    def _at(self, second: int) -> Histogram:
        """The histogram of `second`, to be written to until another one is asked for."""
        if second != self._second:
            self._packed.update(self._texts())
            self._second = second
            self._histogram = decode_histogram(self._packed.pop(second)) if second in self._packed else Histogram()
        return self._histogram

    def _texts(self) -> Iterator[tuple[int, str]]:
        yield from list(self._packed.items())
        if self._second >= 0:
            yield self._second, encode_histogram(self._histogram)

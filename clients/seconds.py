"""A run second by second, since its start."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from yais.clients import hdr
from yais.clients.chunk import Chunk
from yais.clients.histogram import Histogram, Nanoseconds
from yais.clients.outcomes import HELD_BACK, OK, OUTCOMES, Counts, outcome_numbers

SECOND = 1_000_000_000

_HELD_BACK = OUTCOMES.index("held_back")
_OFFERED, _SENT, _LATE, _CARRIED = range(len(OUTCOMES), len(OUTCOMES) + 4)
_COLUMNS = _CARRIED + 1


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

    def count(self, chunk: Chunk, start: int, late: NDArray[np.bool_]) -> None:
        """What of `chunk` was due at `start` or later, all of it; `late` marks those that were."""
        due, sent, done = ((column - start) // SECOND for column in (chunk.due, chunk.sent, chunk.done))
        completed = chunk.status == OK
        self._add(due, _OFFERED)
        self._add(sent[chunk.status != HELD_BACK], _SENT)
        self._add(done, outcome_numbers(chunk.status))
        self._add(done[late], _LATE)
        self._record(done[completed], (chunk.done - chunk.due)[completed])

    def carry(self, chunk: Chunk, start: int) -> None:
        """What was due before `start` was in flight until it ended, and is not counted otherwise."""
        ends = (chunk.done - start) // SECOND
        ends = ends[ends >= 0]
        self._add(np.zeros_like(ends), _CARRIED)
        self._add(ends, _CARRIED, -1)

    def merge(self, other: "Seconds") -> None:
        self._reserve(len(other))
        self._table[: len(other)] += other._table
        for second, text in other._texts():
            self._at(second).merge(hdr.decode(text))

    def counts(self) -> list[Counts]:
        """Of each second; what was due in one may have been sent in another and have ended in a third."""
        return [
            Counts(row[_OFFERED], row[_SENT], late=row[_LATE], **dict(zip(OUTCOMES, row, strict=False)))
            for row in self._table.tolist()
        ]

    def in_flight(self) -> list[int]:
        """At the end of each second."""
        ended = self._table[:, : len(OUTCOMES)].sum(axis=1) - self._table[:, _HELD_BACK]
        in_flight: list[int] = np.cumsum(self._table[:, _SENT] - ended + self._table[:, _CARRIED]).tolist()
        return in_flight

    def latencies(self) -> list[str]:
        """Of what completed in each second, in HdrHistogram's text form."""
        packed, empty = dict(self._texts()), hdr.encode(Histogram())
        return [packed.get(second, empty) for second in range(len(self))]

    def _add(self, seconds: Nanoseconds, columns: int | NDArray[np.intp], times: int = 1) -> None:
        if seconds.size:
            self._reserve(int(seconds.max()) + 1)
            np.add.at(self._table.reshape(-1), seconds * _COLUMNS + columns, times)

    def _reserve(self, seconds: int) -> None:
        if seconds > len(self):
            self._table = np.pad(self._table, ((0, seconds - len(self)), (0, 0)))

    def _record(self, seconds: Nanoseconds, latencies: Nanoseconds) -> None:
        for second in np.flatnonzero(np.bincount(seconds)).tolist():
            self._at(second).add(latencies[seconds == second])

    def _at(self, second: int) -> Histogram:
        """The histogram of `second`, to be written to until another one is asked for."""
        if second != self._second:
            self._packed.update(self._texts())
            self._second = second
            self._histogram = hdr.decode(self._packed.pop(second)) if second in self._packed else Histogram()
        return self._histogram

    def _texts(self) -> Iterator[tuple[int, str]]:
        yield from list(self._packed.items())
        if self._second >= 0:
            yield self._second, hdr.encode(self._histogram)

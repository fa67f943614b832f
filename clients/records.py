"""What became of each request: who calls a server writes records, reports are functions of what they add up to."""

from collections.abc import Callable

from yais.clients.chunk import Chunk
from yais.clients.outcomes import HELD_BACK, OK, STATUS_NAMES, STATUS_NUMBERS, WRONG
from yais.clients.tally import Failed, Tally

__all__ = ["HELD_BACK", "OK", "STATUS_NAMES", "STATUS_NUMBERS", "WRONG", "Recorder", "Sink"]

Sink = Callable[[Chunk, int], None]

# To count a chunk keeps everything else waiting, and shows as a send lag: a quarter of what it is with 8,192 at a time,
# for less than a tenth of a microsecond more a request.
_CHUNK = 2048
# To write a request down costs more than to count it: less at a time.
_CHUNK_FOR_SINK = 1024


class Recorder:
    """Takes one entry a request, when it has ended, and keeps only what they add up to; times as in a `Chunk`.

    `late_after` as in a `Tally`. `sink` is for what shall see each request: it gets every chunk before it is forgotten,
    and when second 0 began.
    """

    def __init__(self, *, late_after: int | None = None, sink: Sink | None = None) -> None:
        self._tally = Tally(late_after=late_after)
        self._sink = sink
        self._full = (_CHUNK if sink is None else _CHUNK_FOR_SINK) * len(Chunk._fields)
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

    def hold_back(self, due: int, kind: int = 0) -> None:
        self.add(due, due, due, HELD_BACK, kind)

    def _fold(self) -> None:
        chunk, failures = Chunk.of(self._entries), self._failures
        self._clear()
        self._tally.fold(chunk)
        self._tally.fail(failures)
        if self._sink is not None and self._tally.start is not None:
            self._sink(chunk, self._tally.start)

    def _clear(self) -> None:
        self._entries: list[int] = []
        self._failures: list[Failed] = []

"""Every request as a line of CSV, written while the run goes on."""

from typing import TextIO

import numpy as np

from yais.clients.chunk import Chunk
from yais.clients.outcomes import LOWEST_STATUS, STATUS_NAMES, STATUSES

COLUMNS = ("due_ns", "sent_ns", "done_ns", "status", "kind")

_LINE = "%d,%d,%d,%s,%d\n"


class RequestLog:
    """A recorder's sink. Times are nanoseconds since second 0, below 0 for what was due in the warm-up."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._names = [STATUS_NAMES[number] for number in range(LOWEST_STATUS, LOWEST_STATUS + STATUSES)]
        file.write(",".join(COLUMNS) + "\n")

    def __call__(self, chunk: Chunk, start: int) -> None:
        times = np.stack((chunk.due, chunk.sent, chunk.done)) - start
        names = [self._names[status - LOWEST_STATUS] for status in chunk.status.tolist()]
        rows = zip(*times.tolist(), names, chunk.kind.tolist(), strict=True)
        self._file.write("".join([_LINE % row for row in rows]))

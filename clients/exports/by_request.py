"""Every request as a line of CSV, written while the run goes on."""

from typing import TextIO

import numpy as np

from yais.clients.stats.outcomes import LOWEST_STATUS, STATUS_NAMES, STATUSES
from yais.clients.stats.recorder import RecordBatch

COLUMNS = ("due_ns", "sent_ns", "done_ns", "status", "kind")

_LINE = "%d,%d,%d,%s,%d\n"


class RequestLog:
    """A recorder's sink. Times are nanoseconds since second 0, below 0 for what was due in the warm-up."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._names = [STATUS_NAMES[number] for number in range(LOWEST_STATUS, LOWEST_STATUS + STATUSES)]
        file.write(",".join(COLUMNS) + "\n")

    def __call__(self, batch: RecordBatch, start: int) -> None:
        times = np.stack((batch.due, batch.sent, batch.done)) - start
        names = [self._names[status - LOWEST_STATUS] for status in batch.status.tolist()]
        rows = zip(*times.tolist(), names, batch.kind.tolist(), strict=True)
        self._file.write("".join([_LINE % row for row in rows]))

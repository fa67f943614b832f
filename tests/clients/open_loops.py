"""Open loops over a stand-in for a callable, and a recorder that keeps every entry."""

from itertools import repeat

import numpy as np

from yais.clients.siege.in_flight import NextRequest
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Pacer
from yais.clients.siege.transports import UnaryCallable
from yais.clients.stats.recorder import RecordBatch, Recorder

MS = 1_000_000
ANY: NextRequest = repeat((0, b"")).__next__


class KeepingRecorder(Recorder):
    """Keeps every entry beside what they add up to."""

    def __init__(self) -> None:
        super().__init__(sink=lambda batch, start: self._batches.append(batch))
        self._batches: list[RecordBatch] = []

    @property
    def entries(self) -> RecordBatch:
        self._fold()
        return RecordBatch(*map(np.concatenate, zip(*self._batches, strict=True)))


def make_sender(
    send: UnaryCallable, pacer: Pacer, max_outstanding: int = 950, warmup: int = 0, recorder: Recorder | None = None
) -> OpenLoop:
    return OpenLoop([send], ANY, pacer, timeout=1.0, max_outstanding=max_outstanding, warmup=warmup, recorder=recorder)

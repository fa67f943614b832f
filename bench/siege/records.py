"""Records as siege makes them at 10,000 requests a second, without a server."""

from collections.abc import Iterator

import grpc
import numpy as np

from yais.clients.stats.outcomes import STATUS_NUMBERS
from yais.clients.stats.recorder import Recorder

RATE = 10_000

Times = tuple[int, int, int]
"""When a request was due, was sent and was done, in nanoseconds."""

_GAP = 1_000_000_000 // RATE
_BLOCK = 50_000
_UNAVAILABLE = STATUS_NUMBERS[grpc.StatusCode.UNAVAILABLE]


def blocks(requests: int, begin: int = 0) -> Iterator[list[Times]]:
    """So many requests, from number `begin` on, a block at a time.

    They are sent some 50 us late, and are done some 2 ms after that.
    """
    random, end = np.random.default_rng(begin), begin + requests
    for first in range(begin, end, _BLOCK):
        due = np.arange(first, min(first + _BLOCK, end)) * _GAP
        sent = due + random.exponential(50_000, due.size).astype(np.int64)
        done = sent + random.lognormal(np.log(2e6), 0.7, due.size).astype(np.int64)
        yield list(zip(due.tolist(), sent.tolist(), done.tolist(), strict=True))


def record(recorder: Recorder, block: list[Times], failures: int = 0) -> None:
    """Of every hundred, so many have failed."""
    if not failures:
        for due, sent, done in block:
            recorder.add(due, sent, done, kind=0)
    else:
        fail = recorder.add_failure
        for number, (due, sent, done) in enumerate(block):
            if number % 100 < failures:
                fail(due, sent, done, _UNAVAILABLE, "Exceeds maximum queue size", 0)
            else:
                recorder.add(due, sent, done, kind=0)

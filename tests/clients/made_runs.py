"""Reports of runs that never were, made from their latencies."""

from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from yais.clients.stats.outcomes import DROPPED, OK, STATUS_NUMBERS
from yais.clients.stats.recorder import RecordBatch, Tally
from yais.clients.stats.report import Report, RunInfo, summarise

SECOND = 1_000_000_000
FAILED = STATUS_NUMBERS[grpc.StatusCode.INTERNAL]


def chunk(
    due: NDArray[Any], latency: NDArray[Any], status: NDArray[Any] | None = None, lag: float = 0.0
) -> RecordBatch:
    """Requests in the order of their ends, in seconds, sent `lag` after they were due."""
    due_ns = np.round(due * SECOND).astype(np.int64)
    done_ns = due_ns + np.round(latency * SECOND).astype(np.int64)
    statuses = np.full(due.size, OK, np.int8) if status is None else status.astype(np.int8)
    return RecordBatch(due_ns, due_ns + round(lag * SECOND), done_ns, statuses, np.zeros(due.size, np.int32))


def made_report(
    latency: NDArray[Any],
    rate: float = 1000.0,
    *,
    failed: int = 0,
    dropped: int = 0,
    late_after: int | None = None,
    schedule: str = "constant",
    lag: float = 0.0,
) -> Report:
    """A constant rate of requests with these latencies and sent with this lag, in seconds.

    The last ones failed or were dropped.
    """
    status = np.full(latency.size, OK)
    status[latency.size - failed - dropped :] = FAILED
    status[latency.size - dropped :] = DROPPED
    tally = Tally(start=0, late_after=late_after)
    tally.fold(chunk(np.arange(latency.size) / rate, latency * (status != DROPPED), status, lag))
    return summarise(tally, RunInfo(schedule=schedule, rate_asked=rate))

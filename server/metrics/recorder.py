"""What one model has done, recorded once a batch.

A batch costs one `array.extend` a request; counting, bucketing and summing happen for hundreds of requests at a time,
when the array is full, when a sub-window ends, or when somebody reads.
"""

from array import array
from collections.abc import Callable, Sequence
from time import monotonic_ns, time_ns
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from yais.server.errors import Reason
from yais.server.execution import Execution
from yais.server.metrics.quantiles import SUB_WINDOW_NS, SlidingQuantiles
from yais.server.request import Request

# The columns of a request's durations. "request" runs from handler entry to the encoded answer; the others are parts of
# it, of which the last three belong to the whole batch and are charged to each of its requests.
STAGES = ("request", "queue", "input", "infer", "output")
STAGE_BUCKETS_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
# The original's 1.25, 1.5, 2, 10 and 100, and finer ones near 1, where scaling is decided.
LOAD_RATIO_BUCKETS = (1.01, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 25, 50, 100)

_FLUSH_AT = 1024 * len(STAGES)


class Histogram:
    """Counts per bucket, not cumulated, with +Inf as the last; `total` is the sum of all values."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.total = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        buckets = np.searchsorted(self.bounds, values)
        self.counts += np.bincount(buckets, minlength=len(self.counts))
        self.total += float(values.sum())


class BatchStats:
    """Runs of one batch size, and the nanoseconds that their stages took together."""

    __slots__ = ("count", "infer_ns", "input_ns", "output_ns")

    def __init__(self) -> None:
        self.count = self.input_ns = self.infer_ns = self.output_ns = 0


class Recorder:
    """The figures of one model. Times come from `clock`, in nanoseconds of a monotonic clock."""

    def __init__(self, model: str, version: str, clock: Callable[[], int] = monotonic_ns) -> None:
        self.model = model
        self.version = version
        self.inference_count = 0
        self.execution_count = 0
        self.last_inference_ms = 0
        self.failures: dict[Reason, int] = dict.fromkeys(get_args(Reason), 0)
        self.failure_ns = 0
        self.batches: dict[int, BatchStats] = {}
        self.successes = 0
        self.duration_ns = np.zeros(len(STAGES), np.int64)
        self.duration_us = np.zeros(len(STAGES), np.int64)
        self.histograms = [Histogram(STAGE_BUCKETS_MS) for _ in STAGES]
        self.load_ratio = Histogram(LOAD_RATIO_BUCKETS)
        self._quantiles = [SlidingQuantiles() for _ in STAGES]
        self._clock = clock
        self._pending = array("q")
        self._pending_slot = 0

    def succeed(self, execution: Execution, answered: Sequence[Request], output_ns: int, now: int) -> None:
        """Records one run of the engine, whose requests in `answered` got their results at `now`."""
        self._record_batch(execution, output_ns)
        slot = now // SUB_WINDOW_NS
        if slot != self._pending_slot or len(self._pending) >= _FLUSH_AT:
            self._flush()
            self._pending_slot = slot
        compute = (execution.input_ns, execution.infer_ns, output_ns)
        for request in answered:
            self._pending.extend((now - request.arrived, execution.started - request.queued, *compute))
            self.inference_count += request.rows

    def fail(self, reason: Reason, elapsed_ns: int) -> None:
        """Records a request that got no result."""
        self.failures[reason] += 1
        self.failure_ns += elapsed_ns

    def read(self) -> "Recorder":
        """Brings all figures up to date before they are read."""
        self._flush()
        return self

    def quantiles(self, stage: str, ranks: Sequence[float]) -> list[float]:
        """Quantiles of a stage over the last 60 s, in nanoseconds; NaN each when nothing happened."""
        return self._quantiles[STAGES.index(stage)].quantiles(ranks, self._clock() // SUB_WINDOW_NS)

    def _record_batch(self, execution: Execution, output_ns: int) -> None:
        self.execution_count += 1
        self.last_inference_ms = time_ns() // 1_000_000
        stats = self.batches.get(execution.rows) or self.batches.setdefault(execution.rows, BatchStats())
        stats.count += 1
        stats.input_ns += execution.input_ns
        stats.infer_ns += execution.infer_ns
        stats.output_ns += output_ns

    def _flush(self) -> None:
        if not self._pending:
            return
        durations = np.frombuffer(self._pending, np.int64).reshape(-1, len(STAGES))
        self.successes += len(durations)
        self.duration_ns += durations.sum(axis=0)
        self.duration_us += (durations // 1000).sum(axis=0)
        for column, (histogram, quantiles) in enumerate(zip(self.histograms, self._quantiles, strict=True)):
            histogram.observe(durations[:, column] / 1e6)
            quantiles.observe(durations[:, column], self._pending_slot)
        self.load_ratio.observe(durations[:, 0] / np.maximum(1, durations[:, STAGES.index("infer")]))
        self._pending = array("q")

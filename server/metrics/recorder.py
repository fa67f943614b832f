"""Statistics of one model, recorded once a batch.

A batch costs one extension of a list for its run and one for each request; counting, bucketing and summing happen for
hundreds of them at a time, when the lists are full, when a sub-window ends, or when they are read.
"""

from collections.abc import Callable, Sequence
from time import monotonic_ns, time_ns
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from yais.server.errors import Reason
from yais.server.metrics.quantiles import SUB_WINDOW_NS, SlidingQuantiles
from yais.server.models.request import Request

# The columns of a request's durations. "request" runs from handler entry to the encoded answer; the others are parts of
# it, of which the last three belong to the whole batch and are charged to each of its requests.
STAGES = ("request", "queue", "input", "infer", "output")
STAGE_BUCKETS_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
# The original's 1.25, 1.5, 2, 10 and 100, and finer ones near 1, where scaling is decided.
LOAD_RATIO_BUCKETS = (1.01, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 25, 50, 100)

# The columns of what waits to be counted: of a run, its rows, when it started and when its answers were there, the
# stages that it charges to each of its requests, and how many these are; of a request, its rows and its two times.
_RUN_COLUMNS = 7
_REQUEST_COLUMNS = 3
_FLUSH_AT = 1024 * (_RUN_COLUMNS + _REQUEST_COLUMNS)


class BucketCounts:
    """Counts per bucket, not cumulated, with +Inf as the last; `total` is the sum of all values."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.total = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        buckets = np.searchsorted(self.bounds, values)
        self.counts += np.bincount(buckets, minlength=len(self.counts))
        self.total += float(values.sum())

    def merge(self, other: "BucketCounts") -> None:
        self.counts += other.counts
        self.total += other.total


class BatchStats:
    """Runs of one batch size, and the nanoseconds that their stages took together."""

    __slots__ = ("count", "infer_ns", "input_ns", "output_ns")

    def __init__(self) -> None:
        self.count = self.input_ns = self.infer_ns = self.output_ns = 0

    def merge(self, other: "BatchStats") -> None:
        self.count += other.count
        self.input_ns += other.input_ns
        self.infer_ns += other.infer_ns
        self.output_ns += other.output_ns


class InferenceRecorder:
    """Statistics of one model. Times come from `clock`, in nanoseconds of a monotonic clock."""

    def __init__(self, model: str, version: str, clock: Callable[[], int] = monotonic_ns) -> None:
        self.model = model
        self.version = version
        self.inference_count = 0
        self.execution_count = 0
        self.padded_rows = 0
        self.failures: dict[Reason, int] = dict.fromkeys(get_args(Reason), 0)
        self.failure_ns = 0
        self.batches: dict[int, BatchStats] = {}
        self.successes = 0
        self.duration_ns = np.zeros(len(STAGES), np.int64)
        # Not a thousandth of the nanoseconds: Triton cuts each request's off before it adds them.
        self.duration_us = np.zeros(len(STAGES), np.int64)
        self.histograms = [BucketCounts(STAGE_BUCKETS_MS) for _ in STAGES]
        self.load_ratio = BucketCounts(LOAD_RATIO_BUCKETS)
        self._quantiles = [SlidingQuantiles() for _ in STAGES]
        self._clock = clock
        # Lists, since to extend an `array` takes four times as long.
        self._runs: list[int] = []
        self._requests: list[int] = []
        self._slot = self._window_end = 0
        self._last_inference = 0

    @property
    def last_inference_ms(self) -> int:
        """When the last run's results were there, in milliseconds of the wall clock; 0 before the first."""
        ago = self._clock() - self._last_inference
        return (time_ns() - ago) // 1_000_000 if self._last_inference else 0

    def record(
        self,
        rows: int,
        started: int,
        input_ns: int,
        infer_ns: int,
        output_ns: int,
        now: int,
        answered: Sequence[Request],
        padding: int = 0,
    ) -> None:
        """Records one run of the engine, whose requests in `answered` got their results at `now`.

        `rows` were run for requests, and `padding` rows besides.
        """
        if padding:
            self.padded_rows += padding
        if now >= self._window_end or len(self._runs) + len(self._requests) >= _FLUSH_AT:
            self._flush()
            self._slot = now // SUB_WINDOW_NS
            self._window_end = (self._slot + 1) * SUB_WINDOW_NS
        self._runs += (rows, started, now, input_ns, infer_ns, output_ns, len(answered))
        for request in answered:
            self._requests += (request.rows, request.arrived, request.queued)
        self._last_inference = now

    def fail(self, reason: Reason, elapsed_ns: int) -> None:
        """Records a request that got no result."""
        self.failures[reason] += 1
        self.failure_ns += elapsed_ns

    def read(self) -> "InferenceRecorder":
        """Brings all statistics up to date before they are read."""
        self._flush()
        return self

    def merge(self, other: "InferenceRecorder") -> None:
        """Adds the statistics of another process's recorder of the same model, which has been read."""
        self.inference_count += other.inference_count
        self.execution_count += other.execution_count
        self.padded_rows += other.padded_rows
        for reason, count in other.failures.items():
            self.failures[reason] += count
        self.failure_ns += other.failure_ns
        for rows, stats in other.batches.items():
            self.batches.setdefault(rows, BatchStats()).merge(stats)
        self.successes += other.successes
        self.duration_ns += other.duration_ns
        self.duration_us += other.duration_us
        histograms = (*self.histograms, self.load_ratio), (*other.histograms, other.load_ratio)
        for histogram, added in zip(*histograms, strict=True):
            histogram.merge(added)
        # CLOCK_MONOTONIC is the machine's, so that sub-windows of several processes have the same numbers.
        for quantiles, more in zip(self._quantiles, other._quantiles, strict=True):
            quantiles.merge(more)
        self._last_inference = max(self._last_inference, other._last_inference)

    def quantiles(self, stage: str, ranks: Sequence[float]) -> list[float]:
        """Quantiles of a stage over the last 60 s, in nanoseconds; NaN each when nothing happened."""
        return self._quantiles[STAGES.index(stage)].quantiles(ranks, self._clock() // SUB_WINDOW_NS)

    def _flush(self) -> None:
        runs, requests = _table(self._runs, _RUN_COLUMNS), _table(self._requests, _REQUEST_COLUMNS)
        self._runs, self._requests = [], []
        self.execution_count += len(runs)
        # Few batch sizes occur at a time; each has one pass over the table.
        for size in np.unique(runs[:, 0]).tolist():
            stats = self.batches.setdefault(size, BatchStats())
            _, _, _, *spent = runs[runs[:, 0] == size, :6].T
            stats.count += len(spent[0])
            stats.input_ns += int(spent[0].sum())
            stats.infer_ns += int(spent[1].sum())
            stats.output_ns += int(spent[2].sum())
        if len(requests):
            rows, arrived, queued = requests.T
            # The values of a run are repeated for each of its requests, which lie in the same order.
            _, started, answered, *shared = np.repeat(runs[:, :6], runs[:, 6], axis=0).T
            self.inference_count += int(rows.sum())
            self._count_requests(np.stack((answered - arrived, started - queued, *shared), axis=1))

    def _count_requests(self, durations: NDArray[np.int64]) -> None:
        """A row for each request, with the columns of `STAGES`."""
        self.successes += len(durations)
        self.duration_ns += durations.sum(axis=0)
        self.duration_us += (durations // 1000).sum(axis=0)
        for column, (histogram, quantiles) in enumerate(zip(self.histograms, self._quantiles, strict=True)):
            histogram.observe(durations[:, column] / 1e6)
            quantiles.observe(durations[:, column], self._slot)
        self.load_ratio.observe(durations[:, 0] / np.maximum(1, durations[:, STAGES.index("infer")]))


def _table(values: list[int], columns: int) -> NDArray[np.int64]:
    return np.fromiter(values, np.int64, len(values)).reshape(-1, columns)

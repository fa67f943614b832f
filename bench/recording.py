"""What it costs to record a request's five durations, beside prometheus_client's own metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import process_time_ns

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, Summary

from bench.measure import Size, Spread, choose_cores, pinned
from yais.engines import Array, Shape
from yais.server.errors import ServiceError
from yais.server.metrics.recorder import STAGE_BUCKETS_MS, STAGES, InferenceRecorder

SHORT = Size(rounds=5, requests=50_000)
FULL = Size(rounds=15, requests=200_000)

BATCHES = (1, 8, 32)

_BATCH_INTERVAL_NS = 300_000

# Records so many requests, in batches of so many.
Method = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """Nanoseconds of CPU a request: the recorder, and five observations of a bound child of each other kind."""

    case: str
    recorder_ns: Spread
    histogram_ns: Spread
    summary_ns: Spread


@dataclass(slots=True)
class Answered:
    """A request of one row that has been answered already."""

    arrived: int = 0
    queued: int = 0
    deadline: int | None = None
    rows: int = 1
    shapes: tuple[Shape, ...] = ()
    is_wanted: bool = True

    def fill(self, inputs: Mapping[str, Array], row: int) -> None: ...

    def answer(self, outputs: Mapping[str, Array], row: int) -> None: ...

    def refuse(self, error: ServiceError) -> None: ...


def run(size: Size) -> list[Row]:
    with pinned(choose_cores().server):
        return [_row(batch, size) for batch in BATCHES]


def _row(batch: int, size: Size) -> Row:
    methods: list[Method] = [_recorder, _histograms, _summaries]
    rounds = [[_cost(method, size.requests, batch) for method in methods] for _ in range(size.rounds)]
    recorder, histogram, summary = (Spread.of(column) for column in zip(*rounds, strict=True))
    return Row(f"batches of {batch}", recorder, histogram, summary)


def _cost(method: Method, count: int, batch: int) -> float:
    started = process_time_ns()
    method(count, batch)
    return (process_time_ns() - started) / count


def _recorder(count: int, batch: int) -> None:
    """As the server does it, on a clock that passes through several sub-windows; `read` flushes what is left."""
    recorder = InferenceRecorder("model", "1")
    requests = [Answered() for _ in range(batch)]
    for now in range(_BATCH_INTERVAL_NS, (count // batch + 1) * _BATCH_INTERVAL_NS, _BATCH_INTERVAL_NS):
        for request in requests:
            request.arrived = request.queued = now - _BATCH_INTERVAL_NS
        recorder.record(batch, now - 100_000, 5_000, 50_000, 10_000, now, requests)
    recorder.read()


def _histograms(count: int, batch: int) -> None:
    family = Histogram("h", "Stages", ("model", "stage"), buckets=STAGE_BUCKETS_MS, registry=CollectorRegistry())
    _observe([family.labels("model", stage).observe for stage in STAGES], count)


def _summaries(count: int, batch: int) -> None:
    family = Summary("s", "Stages", ("model", "stage"), registry=CollectorRegistry())
    _observe([family.labels("model", stage).observe for stage in STAGES], count)


def _observe(observe: list[Callable[[float], None]], count: int) -> None:
    request, queue, took_in, infer, output = observe
    for duration in np.random.default_rng(0).random(count).tolist():
        request(duration)
        queue(duration)
        took_in(duration)
        infer(duration)
        output(duration)

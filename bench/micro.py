"""Micro-benchmarks in one process, without a transport: parts of a request, and the recorders of server and siege."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic_ns, perf_counter_ns, process_time_ns
from typing import Any, NamedTuple

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, Histogram, Summary

from bench.closed_loop import message
from bench.measure import BenchError, Benchmark, Size, Spread, choose_cores, engine, pinned
from bench.rounds import Bound
from bench.siege.growth import Times, blocks, record
from yais.clients.stats.recorder import Recorder as SiegeRecorder
from yais.engines import Array, EngineOptions, Shape, open_engine
from yais.proto.grpc_service_pb2 import ModelInferRequest
from yais.server.errors import ServiceError
from yais.server.grpc.codec import decode
from yais.server.grpc.infer import InferMethod
from yais.server.grpc.server import CallListener
from yais.server.grpc.templates import RequestTemplateCache
from yais.server.metrics.recorder import STAGE_BUCKETS_MS, STAGES, InferenceRecorder
from yais.server.models.admission import Admission
from yais.server.models.model import Model, ModelOptions
from yais.server.models.registry import Registry

BATCHES = (1, 8, 32)

# Between batches on the recorder's clock, which is simulated: nothing waits.
_BATCH_INTERVAL_NS = 300_000

# Records so many requests, in batches of so many.
RecordRequests = Callable[[int, int], None]

# Nanoseconds of CPU a request.
SIEGE_RECORDER_BOUND = Bound("at most", 1_000)

# Of every hundred requests, so many have failed.
FAILURES = {"all completed": 0, "1 % failed": 1, "all failed": 100}

RecordBlock = Callable[[list[Times]], object]


class StageCase(NamedTuple):
    """Requests for a model with an input of this shape, so many of which make a batch."""

    name: str
    model: str
    shape: tuple[int, ...]
    batch: int


STAGE_CASES = (
    StageCase("identity, 16 floats", "identity", (16,), 1),
    StageCase("identity, 150,528 floats", "identity", (150_528,), 1),
    StageCase("mlp, 8 in a batch", "mlp", (1, 64), 8),
)


@dataclass(frozen=True, slots=True)
class StageRow:
    """Nanoseconds that a part takes for a request."""

    case: str
    part: str
    ns: Spread


@dataclass(slots=True)
class DroppedCall:
    """A call whose answer is dropped."""

    listener: CallListener | None = None
    deadline: float = float("inf")
    is_over: bool = False

    def respond(self, *buffers: bytes) -> None:
        self.is_over = True

    def fail(self, code: grpc.StatusCode, details: str = "") -> None:
        raise BenchError(details)

    def hold_back(self) -> None: ...


def run_stages(size: Size) -> list[StageRow]:
    with pinned(choose_cores().server):
        return [row for case in STAGE_CASES for row in asyncio.run(_stage_rows(case, size))]


async def _stage_rows(case: StageCase, size: Size) -> list[StageRow]:
    path = engine(case.model)
    options = ModelOptions(contexts=1, buffers=3, max_queue_delay=0, max_queue_size=case.batch)
    # One thread is what the server gives an engine on one core.
    model = Model(case.model, open_engine(path, EngineOptions(threads=1)), options, asyncio.get_running_loop())
    data = message(case.model, "INPUT0", np.random.default_rng(0).random(case.shape, np.float32))
    parts = _parts(model, data, case.batch)
    # Large requests are repeated less often, so that no case takes all the time.
    count = max(1, size.requests // case.batch // max(1, len(data) // 10_000))
    # Part after part in each round, so that a slower spell of the machine does not strike one of them alone.
    rounds = [[_stage_cost(part, count) / case.batch for part in parts.values()] for _ in range(size.rounds)]
    return [
        StageRow(case.name, name, Spread.of(column))
        for name, column in zip(parts, zip(*rounds, strict=True), strict=True)
    ]


def _parts(model: Model, data: bytes, batch: int) -> dict[str, Callable[[], Any]]:
    """What there is to do for a batch of requests, each part by itself."""
    registry, admission = Registry(), Admission()
    registry.add(model)
    method = InferMethod(registry, admission)
    templates = RequestTemplateCache(method)
    inference = decode(ModelInferRequest.FromString(data), model.signature)
    templates.insert(data, model, inference.layout, inference.outputs)
    context = model.engine.create_context()
    context.fit(inference.layout.shapes)
    # The outputs that `answer` reads; it also keeps the engine's first run, which allocates, out of the measurement.
    context.execute(batch)

    def arrive() -> list[Any]:
        now = monotonic_ns()
        return [templates.lookup(DroppedCall(), data, now) for _ in range(batch)]

    def fill(requests: Sequence[Any]) -> None:
        for row, request in enumerate(requests):
            request.fill(context.inputs, row)

    def answer() -> None:
        for row, request in enumerate(arrive()):
            # `answer` leaves it again, as at the end of any call.
            admission.enter()
            request.answer(context.outputs, row)

    waiting = arrive()
    started = monotonic_ns()
    return {
        "parse and check (what a known template spares)": lambda: [
            decode(ModelInferRequest.FromString(data), model.signature) for _ in range(batch)
        ],
        "take apart, recognise": arrive,
        "fill the batch": lambda: fill(waiting),
        "run the engine": lambda: context.execute(batch),
        "recognise, and make the reply": answer,
        "record": lambda: model.recorder.record(batch, started, 1_000, 5_000, 500, monotonic_ns(), waiting),
    }


def _stage_cost(part: Callable[[], Any], count: int) -> float:
    started = perf_counter_ns()
    for _ in range(count):
        part()
    return (perf_counter_ns() - started) / count


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """Nanoseconds of CPU a request: the recorder, and five observations of a bound child of each other kind."""

    case: str
    recorder_ns: Spread
    histogram_ns: Spread
    summary_ns: Spread


@dataclass(slots=True)
class AnsweredRequest:
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


def run_recording(size: Size) -> list[RecordingRow]:
    methods: list[RecordRequests] = [_recorder, _histograms, _summaries]
    rows = []
    with pinned(choose_cores().server):
        for batch in BATCHES:
            # Methods take turns, so that a slower spell of the machine strikes all of them.
            costs: list[list[float]] = [[] for _ in methods]
            for _ in range(size.rounds):
                for method, of_method in zip(methods, costs, strict=True):
                    started = process_time_ns()
                    method(size.requests, batch)
                    of_method.append((process_time_ns() - started) / size.requests)
            recorder, histogram, summary = map(Spread.of, costs)
            rows.append(RecordingRow(f"batches of {batch}", recorder, histogram, summary))
    return rows


def _recorder(count: int, batch: int) -> None:
    """As the server does it, on a clock that passes through several sub-windows; `read` flushes what is left."""
    recorder = InferenceRecorder("model", "1")
    # The same ones for all batches: making requests is no part of recording them.
    requests = [AnsweredRequest() for _ in range(batch)]
    for now in range(_BATCH_INTERVAL_NS, (count // batch + 1) * _BATCH_INTERVAL_NS, _BATCH_INTERVAL_NS):
        for request in requests:
            request.arrived = request.queued = now - _BATCH_INTERVAL_NS
        recorder.record(batch, now - 100_000, 5_000, 50_000, 10_000, now, requests)
    recorder.read()


def _histograms(count: int, batch: int) -> None:
    # Labels are resolved once instead of once a request, which is how `prometheus_client` costs least.
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


@dataclass(frozen=True, slots=True)
class SiegeRecorderRow:
    """Nanoseconds of CPU a request: the recorder with all its folding, and three observations of bound histograms."""

    case: str
    recorder_ns: Spread
    histogram_ns: Spread
    bound: Bound


def run_siege_recorder(size: Size) -> list[SiegeRecorderRow]:
    rows = []
    with pinned(choose_cores().load):
        for case, failures in FAILURES.items():
            rounds = [(_recording(size.requests, failures), _observing(size.requests)) for _ in range(size.rounds)]
            recorder, histogram = (Spread.of(column) for column in zip(*rounds, strict=True))
            rows.append(SiegeRecorderRow(case, recorder, histogram, SIEGE_RECORDER_BOUND))
    return rows


def _recording(requests: int, failures: int) -> float:
    recorder = SiegeRecorder()
    recorder.start(0)
    spent = sum(_block_cost(partial(record, recorder, failures=failures), block) for block in blocks(requests))
    began = process_time_ns()
    recorder.tally  # noqa: B018 (It folds what is left.)
    return (spent + process_time_ns() - began) / requests


def _observing(requests: int) -> float:
    registry = CollectorRegistry()
    latency, service, lag = (
        Histogram(name, "Seconds", registry=registry).observe for name in ("latency", "service", "lag")
    )

    def observe(block: list[Times]) -> None:
        for due, sent, done in block:
            latency((done - due) / 1e9)
            service((done - sent) / 1e9)
            lag((sent - due) / 1e9)

    return sum(_block_cost(observe, block) for block in blocks(requests)) / requests


def _block_cost(method: RecordBlock, block: list[Times]) -> int:
    began = process_time_ns()
    method(block)
    return process_time_ns() - began


BENCHMARKS = {
    "service-stages": Benchmark(
        run_stages, short=Size(rounds=5, requests=2_000), full=Size(rounds=25, requests=10_000)
    ),
    "recording": Benchmark(
        run_recording, short=Size(rounds=5, requests=50_000), full=Size(rounds=15, requests=200_000)
    ),
    "siege-recorder": Benchmark(
        run_siege_recorder, short=Size(rounds=3, requests=50_000), full=Size(rounds=11, requests=1_000_000)
    ),
}

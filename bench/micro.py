"""Where the time of a request goes inside of the server: its parts, measured in one process without a transport."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic_ns, perf_counter_ns
from typing import Any, NamedTuple

import grpc
import numpy as np

from bench.closed_loop import message
from bench.measure import BenchError, Size, Spread, choose_cores, engine, pinned
from yais.engines import EngineOptions, open_engine
from yais.proto.grpc_service_pb2 import ModelInferRequest
from yais.server.grpc.codec import decode
from yais.server.grpc.infer import InferMethod
from yais.server.grpc.server import CallListener
from yais.server.grpc.templates import RequestTemplateCache
from yais.server.models.admission import Admission
from yais.server.models.model import Model, ModelOptions
from yais.server.models.registry import Registry

SHORT = Size(rounds=5, requests=2_000)
FULL = Size(rounds=25, requests=10_000)


class Case(NamedTuple):
    """Requests for a model with an input of this shape, so many of which make a batch."""

    name: str
    model: str
    shape: tuple[int, ...]
    batch: int


CASES = (
    Case("identity, 16 floats", "identity", (16,), 1),
    Case("identity, 150,528 floats", "identity", (150_528,), 1),
    Case("mlp, 8 in a batch", "mlp", (1, 64), 8),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Nanoseconds that a part takes for a request."""

    case: str
    part: str
    ns: Spread


@dataclass(slots=True)
class Call:
    """A call whose answer is dropped."""

    listener: CallListener | None = None
    deadline: float = float("inf")
    is_over: bool = False

    def respond(self, *buffers: bytes) -> None:
        self.is_over = True

    def fail(self, code: grpc.StatusCode, details: str = "") -> None:
        raise BenchError(details)

    def hold_back(self) -> None: ...


def run(size: Size) -> list[Row]:
    with pinned(choose_cores().server):
        return [row for case in CASES for row in asyncio.run(_rows(case, size))]


async def _rows(case: Case, size: Size) -> list[Row]:
    path = engine(case.model)
    options = ModelOptions(contexts=1, buffers=3, max_queue_delay=0, max_queue_size=case.batch)
    model = Model(case.model, open_engine(path, EngineOptions(threads=1)), options, asyncio.get_running_loop())
    data = message(case.model, "INPUT0", np.random.default_rng(0).random(case.shape, np.float32))
    parts = _parts(model, data, case.batch)
    count = max(1, size.requests // case.batch // max(1, len(data) // 10_000))
    rounds = [[_cost(part, count) / case.batch for part in parts.values()] for _ in range(size.rounds)]
    return [
        Row(case.name, name, Spread.of(column)) for name, column in zip(parts, zip(*rounds, strict=True), strict=True)
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
    context.execute(batch)

    def arrive() -> list[Any]:
        now = monotonic_ns()
        return [templates.lookup(Call(), data, now) for _ in range(batch)]

    def fill(requests: Sequence[Any]) -> None:
        for row, request in enumerate(requests):
            request.fill(context.inputs, row)

    def answer() -> None:
        for row, request in enumerate(arrive()):
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


def _cost(part: Callable[[], Any], count: int) -> float:
    started = perf_counter_ns()
    for _ in range(count):
        part()
    return (perf_counter_ns() - started) / count

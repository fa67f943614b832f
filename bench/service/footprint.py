"""Footprint of a server: how long it takes to start, and its resident memory, at first and over many requests."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import NamedTuple

import grpc
import numpy as np
import uvloop

from bench.closed_loop import Infer, connected, message
from bench.measure import (
    BenchError,
    Benchmark,
    Cores,
    Size,
    Spread,
    Subject,
    choose_cores,
    engine,
    free_port,
    launched,
    pinned,
    running,
    yais,
)
from bench.rounds import Bound
from bench.service.questions import ModelRequest, infer, is_ready, wait_until_answered
from bench.service.servers import mlserver, triton
from bench.transport.contract import require
from bench.transport.peers import H2load, LoadShape, available

START_SHAPE = LoadShape(connections=4, in_flight=8)

IDENTITY = ModelRequest("identity", (16,))
DEMO = ModelRequest("efficientnet-lite0", (1, 3, 224, 224), "input")

CONNECTIONS = 4
IN_FLIGHT = 8  # On each connection.

_MIB = 2**20

# What becomes of a request: sends it and says which status it got.
Attempt = Callable[[Infer], Awaitable[grpc.StatusCode]]


@dataclass(frozen=True, slots=True)
class StartRow:
    """`figure` is in seconds, memory in megabytes (of 1,000,000 bytes), `memory_after` after so many `calls`."""

    case: str
    name: str
    figure: Spread
    bound: Bound | None
    memory: Spread
    calls: int
    memory_after: float
    memory_bound: Bound | None


class Start(NamedTuple):
    """A server that serves one model on a port, and what it should need."""

    case: str
    name: str
    command: Callable[[int], list[str]]
    model: ModelRequest = IDENTITY
    bound: Bound | None = None
    memory_bound: Bound | None = None


class StartSample(NamedTuple):
    """One start; the memory after the requests is None where none were made."""

    seconds: float
    memory: float
    memory_after: float | None


def _yais(model: ModelRequest, port: int) -> list[str]:
    return yais(engine(model.name), port=port)


STARTS = (
    Start("the demo's engine", "YAIS", partial(_yais, DEMO), DEMO, Bound("at most", 1.5), Bound("at most", 200)),
    Start("identity", "YAIS", partial(_yais, IDENTITY)),
    Start("identity", "Triton, C++ backend", partial(triton, backend="bare", models=("identity",))),
    Start("identity", "Triton, Python backend", partial(triton, backend="python", models=("identity",))),
    Start("identity", "MLServer", mlserver),
)


def run_start(size: Size) -> list[StartRow]:
    require("h2load")
    cores = choose_cores()
    # Who cannot run is told of once, before anything is measured.
    able = available({f"{start.name}, {start.case}": partial(start.command, 0) for start in STARTS})
    starts = [start for start in STARTS if f"{start.name}, {start.case}" in able]
    with pinned(cores.load):
        rounds = [
            [_start_sample(start, cores, size.requests if left == 0 else 0) for start in starts]
            for left in reversed(range(size.rounds))
        ]
    return [_start_row(start, size, samples) for start, samples in zip(starts, zip(*rounds, strict=True), strict=True)]


def _start_sample(start: Start, cores: Cores, requests: int) -> StartSample:
    port = free_port()
    # The expected answer takes a run of the model, before the clock starts.
    command, question = start.command(port), infer(start.model)
    started = perf_counter()
    with launched(start.name, command, cores.server, heard=False) as child:
        # Servers may listen before they are ready, and be ready before they have run anything.
        wait_until_answered(child, port, [is_ready(), question])
        seconds, server = perf_counter() - started, child.subject(port)
        memory, after = server.rss() / 1e6, None
        if requests:
            load = H2load(port, question.message, START_SHAPE, question.method, reply=len(question.ask(port)))
            load(requests)
            question.verify(port)
            after = server.rss() / 1e6
    return StartSample(seconds, memory, after)


def _start_row(start: Start, size: Size, samples: tuple[StartSample, ...]) -> StartRow:
    after = samples[-1].memory_after
    assert after is not None
    return StartRow(
        start.case,
        start.name,
        figure=Spread.of([sample.seconds for sample in samples]),
        bound=start.bound,
        memory=Spread.of([sample.memory for sample in samples]),
        calls=size.requests,
        memory_after=after,
        memory_bound=start.memory_bound,
    )


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """`samples` are resident MiB after each round; `slope` is how many KiB 100,000 requests add after the first tenth.

    `statuses` counts how the requests ended.
    """

    case: str
    requests: int
    statuses: dict[str, int]
    first: float
    settled: float
    last: float
    slope: float
    samples: tuple[float, ...]


def run_memory(size: Size) -> list[MemoryRow]:
    cores = choose_cores()
    with running("yais", yais(engine("identity"), engine("mlp")), cores.server) as server, pinned(cores.load):
        return [uvloop.run(_measure_memory(server, size))]


async def _measure_memory(server: Subject, size: Size) -> MemoryRow:
    statuses: Counter[grpc.StatusCode] = Counter()
    mix, samples = _mix(), [server.rss() / _MIB]
    async with connected(server.port, CONNECTIONS) as calls:
        for _ in range(size.rounds):
            statuses += await _round(calls, mix, size.requests)
            samples.append(server.rss() / _MIB)
    return _memory_row(samples, size, statuses)


def _mix() -> list[Attempt]:
    """A hundred requests, of which four are bad and two are cancelled; the others ask identity or mlp."""
    values = np.random.default_rng(0).random(1024, np.float32)
    good = [message("identity", "INPUT0", values[:length]) for length in (1, 16, 16, 64, 1024)]
    good.append(message("mlp", "INPUT0", values[:64].reshape(1, 64)))
    # A wrong shape, an unknown model, and a varint that never ends.
    bad = [message("mlp", "INPUT0", values[:63].reshape(1, 63)), message("nobody", "INPUT0", values), b"\xff"]
    kinds: list[Attempt] = [partial(_answered, request=good[turn % len(good)]) for turn in range(100)]
    kinds[10] = kinds[60] = partial(_cancelled, request=good[1])
    for turn, request in zip((20, 40, 70, 90), (*bad, bad[0]), strict=True):
        kinds[turn] = partial(_refused, request=request)
    return kinds


async def _answered(infer: Infer, request: bytes) -> grpc.StatusCode:
    await infer(request)
    return grpc.StatusCode.OK


async def _refused(infer: Infer, request: bytes) -> grpc.StatusCode:
    status = await infer(request).code()
    if status is grpc.StatusCode.OK:
        raise BenchError("a bad request was answered")
    return status


async def _cancelled(infer: Infer, request: bytes) -> grpc.StatusCode:
    """Cancelled when it has had the time to leave, so that the server meets it in any state."""
    call = infer(request)
    for _ in range(3):
        await asyncio.sleep(0)
    call.cancel()
    return await call.code()


async def _round(calls: list[Infer], mix: list[Attempt], count: int) -> Counter[grpc.StatusCode]:
    statuses: Counter[grpc.StatusCode] = Counter()
    turns = iter(range(count))

    async def work(infer: Infer) -> None:
        for turn in turns:
            statuses[await mix[turn % len(mix)](infer)] += 1

    await asyncio.gather(*(work(infer) for infer in calls for _ in range(IN_FLIGHT)))
    return statuses


def _memory_row(samples: list[float], size: Size, statuses: Counter[grpc.StatusCode]) -> MemoryRow:
    settled = max(1, len(samples) // 10)
    requests = np.arange(len(samples)) * size.requests
    # The first tenth is left out: until then memory grows as that of any program does.
    slope, _ = np.polyfit(requests[settled:], samples[settled:], 1)
    return MemoryRow(
        "identity and mlp, 4 % bad, 2 % cancelled",
        requests=int(requests[-1]),
        statuses={status.name: count for status, count in statuses.most_common()},
        first=samples[0],
        settled=samples[settled],
        last=samples[-1],
        # From MiB a request.
        slope=float(slope) * 100_000 * 1024,
        samples=tuple(samples),
    )


BENCHMARKS = {
    # A round is one start. The requests are made once, after the last.
    "service-start": Benchmark(run_start, short=Size(rounds=3, requests=1_000), full=Size(rounds=11, requests=10_000)),
    "memory": Benchmark(run_memory, short=Size(rounds=20, requests=2_000), full=Size(rounds=50, requests=20_000)),
}

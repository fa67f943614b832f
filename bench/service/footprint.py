"""Resident memory of the server over many requests, some of them cancelled and some of them bad."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import grpc
import numpy as np
import uvloop

from bench.closed_loop import Infer, connected, message
from bench.measure import BenchError, Size, Subject, choose_cores, engine, pinned, running, yais

SHORT = Size(rounds=20, requests=2_000)
FULL = Size(rounds=50, requests=20_000)

CONNECTIONS = 4
IN_FLIGHT = 8  # On each connection.

_MIB = 2**20

# What becomes of a request: sends it and says which status it got.
Kind = Callable[[Infer], Awaitable[grpc.StatusCode]]


@dataclass(frozen=True, slots=True)
class Row:
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


def run(size: Size) -> list[Row]:
    cores = choose_cores()
    with running("yais", yais(engine("identity"), engine("mlp")), cores.server) as server, pinned(cores.load):
        return [uvloop.run(_measure(server, size))]


async def _measure(server: Subject, size: Size) -> Row:
    statuses: Counter[grpc.StatusCode] = Counter()
    mix, samples = _mix(), [server.rss() / _MIB]
    async with connected(server.port, CONNECTIONS) as calls:
        for _ in range(size.rounds):
            statuses += await _round(calls, mix, size.requests)
            samples.append(server.rss() / _MIB)
    return _row(samples, size, statuses)


def _mix() -> list[Kind]:
    """A hundred requests, of which four are bad and two are cancelled; the others ask identity or mlp."""
    values = np.random.default_rng(0).random(1024, np.float32)
    good = [message("identity", "INPUT0", values[:length]) for length in (1, 16, 16, 64, 1024)]
    good.append(message("mlp", "INPUT0", values[:64].reshape(1, 64)))
    bad = [message("mlp", "INPUT0", values[:63].reshape(1, 63)), message("nobody", "INPUT0", values), b"\xff"]
    kinds: list[Kind] = [partial(_answered, request=good[turn % len(good)]) for turn in range(100)]
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


async def _round(calls: list[Infer], mix: list[Kind], count: int) -> Counter[grpc.StatusCode]:
    statuses: Counter[grpc.StatusCode] = Counter()
    turns = iter(range(count))

    async def work(infer: Infer) -> None:
        for turn in turns:
            statuses[await mix[turn % len(mix)](infer)] += 1

    await asyncio.gather(*(work(infer) for infer in calls for _ in range(IN_FLIGHT)))
    return statuses


def _row(samples: list[float], size: Size, statuses: Counter[grpc.StatusCode]) -> Row:
    settled = max(1, len(samples) // 10)
    requests = np.arange(len(samples)) * size.requests
    slope, _ = np.polyfit(requests[settled:], samples[settled:], 1)
    return Row(
        "identity and mlp, 4 % bad, 2 % cancelled",
        requests=int(requests[-1]),
        statuses={status.name: count for status, count in statuses.most_common()},
        first=samples[0],
        settled=samples[settled],
        last=samples[-1],
        slope=float(slope) * 100_000 * 1024,
        samples=tuple(samples),
    )

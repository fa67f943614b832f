import asyncio
from random import Random
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, notes
from transport.api.reading import read_all
from transport.api.serving import Bench

CALLS = 200
TASKS = 8

pytestmark = pytest.mark.both_loops


async def stumble(stub: Any, random: Random) -> None:
    """One call of any kind, which may be cut off at any time, by either end or by its deadline."""
    method = random.choice(["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
    timeout = random.choice([None, None, random.random() * 0.01])
    request = note("abc" * random.randrange(3), size=random.choice([0, 100, 100_000]))
    argument = request if method.startswith("Unary") else [request] * random.randrange(4)
    call = getattr(stub, method)(argument, timeout=timeout)
    canceller = asyncio.create_task(cancel_soon(call, random)) if random.random() < 0.4 else None
    try:
        await (call if method.endswith("Unary") else read_all(call))
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        assert await call.code() is not grpc.StatusCode.OK
    if canceller:
        await canceller


async def cancel_soon(call: Any, random: Random) -> None:
    for _ in range(random.choice([1, 1, random.randrange(50)])):
        await asyncio.sleep(0)
    call.cancel()


async def test_a_connection_survives_a_storm(bench: Bench) -> None:
    served = await bench.serve()
    quiet = served.stub.StreamStream()
    await quiet.write(note("before"))
    assert await quiet.read() == note("before")

    async def storm(seed: int) -> None:
        random = Random(seed)
        for _ in range(CALLS // TASKS):
            await stumble(served.stub, random)

    await asyncio.gather(*(storm(seed) for seed in range(TASKS)))
    await quiet.write(note("after"))
    await quiet.done_writing()
    assert await read_all(quiet) == notes("after")
    async with asyncio.timeout(2):
        await served.server.stop(5)

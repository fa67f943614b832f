import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from api.messages import note, services
from api.reading import read_all
from api.relay import Relay
from api.serving import Bench
from api.transports import Transport

SIZE = 64 * 1024
ENOUGH = 400
# Ours has a window of 1 MiB for a call, grpcio's grows; without back-pressure it would be 25 MiB.
MOST = {"native": 2 * 2**20, "grpcio": 12 * 2**20}
BLOCK = note(size=SIZE)

pytestmark = pytest.mark.both_loops


class Counter:
    """How many blocks were passed on."""

    def __init__(self) -> None:
        self.count = 0

    async def settled(self) -> int:
        """The count, once it does not change any more."""
        before = -1
        while before < self.count:
            before = self.count
            await asyncio.sleep(0.1)
        return before

    async def blocks(self, _: Any = None, context: Any = None) -> AsyncIterator[Any]:
        for _ in range(ENOUGH):
            yield BLOCK
            self.count += 1


class Unread:
    """A method that reads its requests once it is told to."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def method(self, requests: AsyncIterator[Any], context: Any) -> Any:
        await self.told.wait()
        return note(str(len([None async for _ in requests])))


def is_bounded(count: int, reader: Transport) -> bool:
    return 0 < count * SIZE < MOST[reader.name]


async def test_a_server_waits_for_a_slow_client(bench: Bench) -> None:
    counter = Counter()
    served = await bench.serve(methods={"UnaryStream": counter.blocks})
    call = served.stub.UnaryStream(note())
    assert await call.read() == BLOCK
    assert is_bounded(await counter.settled(), bench.ends.channel)
    assert len(await read_all(call)) == ENOUGH - 1


async def test_a_writing_method_waits_for_a_slow_client(bench: Bench) -> None:
    counter = Counter()

    async def write(request: Any, context: Any) -> None:
        async for block in counter.blocks():
            await context.write(block)

    served = await bench.serve(methods={"UnaryStream": write})
    call = served.stub.UnaryStream(note())
    assert is_bounded(await counter.settled(), bench.ends.channel)
    assert len(await read_all(call)) == ENOUGH


async def test_a_client_that_writes_waits_for_a_slow_server(bench: Bench) -> None:
    counter, unread = Counter(), Unread()
    served = await bench.serve(methods={"StreamUnary": unread.method})
    call = served.stub.StreamUnary()

    async def write() -> None:
        async for block in counter.blocks():
            await call.write(block)
        await call.done_writing()

    writing = asyncio.create_task(write())
    assert is_bounded(await counter.settled(), bench.ends.server)
    unread.told.set()
    assert await call == note(str(ENOUGH))
    await writing


async def test_an_iterator_waits_for_a_slow_server(bench: Bench) -> None:
    counter, unread = Counter(), Unread()
    served = await bench.serve(methods={"StreamUnary": unread.method})
    call = served.stub.StreamUnary(counter.blocks())
    assert is_bounded(await counter.settled(), bench.ends.server)
    unread.told.set()
    assert await call == note(str(ENOUGH))


async def test_a_slow_reader_does_not_hold_up_its_neighbours(bench: Bench) -> None:
    counter, unread = Counter(), Unread()
    served = await bench.serve(methods={"UnaryStream": counter.blocks, "StreamUnary": unread.method})
    downward, upward = served.stub.UnaryStream(note()), served.stub.StreamUnary(Counter().blocks())
    assert is_bounded(await counter.settled(), bench.ends.channel)
    for _ in range(10):
        assert await served.stub.UnaryUnary(BLOCK) == BLOCK
    downward.cancel()
    upward.cancel()


async def test_cancelling_wakes_a_writer_that_waits(bench: Bench) -> None:
    counter, unread = Counter(), Unread()
    served = await bench.serve(methods={"StreamUnary": unread.method})
    call = served.stub.StreamUnary()

    async def write() -> None:
        async for block in counter.blocks():
            await call.write(block)

    writing = asyncio.create_task(write())
    await counter.settled()
    call.cancel()
    with pytest.raises((asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError)):
        await writing


async def test_a_method_that_waits_for_a_slow_client_is_cancelled_with_it(bench: Bench) -> None:
    counter = Counter()
    ended = asyncio.Event()

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for block in counter.blocks():
                yield block
        finally:
            ended.set()

    served = await bench.serve(methods={"UnaryStream": stream})
    call = served.stub.UnaryStream(note())
    assert await call.read() == BLOCK
    await counter.settled()
    call.cancel()
    await ended.wait()


async def test_writers_wait_while_nothing_passes_the_network(bench: Bench) -> None:
    downward, upward = Counter(), Counter()
    _, target = await bench.start(methods={"UnaryStream": downward.blocks})
    async with Relay.to(target) as relay:
        stub = services.ProbeStub(bench.connect(relay.target))
        await stub.UnaryUnary(note())
        relay.hold()
        received = asyncio.create_task(read_all(stub.StreamStream(upward.blocks())))
        assert is_bounded(await upward.settled(), bench.ends.server)
        relay.resume()
        assert len(await received) == ENOUGH

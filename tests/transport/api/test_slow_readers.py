import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note, services
from transport.api.relay import Relay
from transport.api.serving import Bench
from transport.api.transports import Transport

BLOCK = note(size=64 * 1024)
# Ours has a window of 1 MiB for a call; grpcio's grows with the speed of the connection.
MOST = {"native": 2 * 2**20, "grpcio": 64 * 2**20}

QUIET_LOOKS = 30

pytestmark = pytest.mark.both_loops


class Writer:
    """Blocks without end, and how many of them were passed on."""

    def __init__(self) -> None:
        self.count = 0
        self._passed = asyncio.Event()

    async def blocks(self, _: Any = None, context: Any = None) -> AsyncIterator[Any]:
        while True:
            yield BLOCK
            self.count += 1
            self._passed.set()

    async def waits_for(self, reader: Transport) -> None:
        """Returns once no more are passed on to a `reader` that does not read, if they are few enough."""
        await self._passed.wait()
        before = 0
        while before < self.count:
            before = self.count
            # grpcio passes things on in threads of its own, of which nothing tells: not by turns of the loop alone.
            for _ in range(QUIET_LOOKS):
                await asyncio.sleep(0.001)
        assert before * len(BLOCK.body) < MOST[reader.name]

    async def goes_on(self) -> None:
        self._passed.clear()
        await self._passed.wait()


class Reader:
    """A method that reads its requests once it is told to."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def method(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self.told.wait()
        async for _ in requests:
            pass


async def read_until(call: Any, awaited: Any) -> None:
    """Reads until `awaited` is there."""
    waiting = asyncio.create_task(awaited)
    while not waiting.done():
        assert await call.read() == BLOCK


async def test_a_server_waits_for_a_slow_client(bench: Bench) -> None:
    writer = Writer()
    served = await bench.serve(methods={"UnaryStream": writer.blocks})
    call = served.stub.UnaryStream(note())
    await writer.waits_for(bench.ends.channel)
    await read_until(call, writer.goes_on())
    call.cancel()


async def test_a_writing_method_waits_for_a_slow_client(bench: Bench) -> None:
    writer = Writer()

    async def write(request: Any, context: Any) -> None:
        async for block in writer.blocks():
            await context.write(block)

    served = await bench.serve(methods={"UnaryStream": write})
    call = served.stub.UnaryStream(note())
    await writer.waits_for(bench.ends.channel)
    await read_until(call, writer.goes_on())
    call.cancel()


async def test_a_client_that_writes_waits_for_a_slow_server(bench: Bench) -> None:
    writer, reader = Writer(), Reader()
    served = await bench.serve(methods={"StreamUnary": reader.method})
    call = served.stub.StreamUnary()

    async def write() -> None:
        async for block in writer.blocks():
            await call.write(block)

    writing = asyncio.create_task(write())
    await writer.waits_for(bench.ends.server)
    reader.told.set()
    await writer.goes_on()
    await writer.goes_on()
    call.cancel()
    with pytest.raises((asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError)):
        await writing


async def test_an_iterator_waits_for_a_slow_server(bench: Bench) -> None:
    writer, reader = Writer(), Reader()
    served = await bench.serve(methods={"StreamUnary": reader.method})
    call = served.stub.StreamUnary(writer.blocks())
    await writer.waits_for(bench.ends.server)
    reader.told.set()
    await writer.goes_on()
    call.cancel()


async def test_a_slow_reader_does_not_hold_up_its_neighbours(bench: Bench) -> None:
    writer, reader = Writer(), Reader()
    served = await bench.serve(methods={"UnaryStream": writer.blocks, "StreamUnary": reader.method})
    downward, upward = served.stub.UnaryStream(note()), served.stub.StreamUnary(Writer().blocks())
    await writer.waits_for(bench.ends.channel)
    for _ in range(10):
        assert await served.stub.UnaryUnary(BLOCK) == BLOCK
    downward.cancel()
    upward.cancel()


async def test_cancelling_wakes_a_writer_that_waits(bench: Bench) -> None:
    writer, reader = Writer(), Reader()
    served = await bench.serve(methods={"StreamUnary": reader.method})
    call = served.stub.StreamUnary()

    async def write() -> None:
        async for block in writer.blocks():
            await call.write(block)

    writing = asyncio.create_task(write())
    await writer.waits_for(bench.ends.server)
    call.cancel()
    with pytest.raises((asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError)):
        await writing


async def test_a_method_that_waits_for_a_slow_client_is_cancelled_with_it(bench: Bench) -> None:
    writer = Writer()
    ended = asyncio.Event()

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for block in writer.blocks():
                yield block
        finally:
            ended.set()

    served = await bench.serve(methods={"UnaryStream": stream})
    call = served.stub.UnaryStream(note())
    await writer.waits_for(bench.ends.channel)
    call.cancel()
    await ended.wait()


async def test_writers_wait_while_nothing_passes_the_network(bench: Bench) -> None:
    upward = Writer()
    _, target = await bench.start()
    async with Relay.to(target) as relay:
        stub = services.ProbeStub(bench.connect(relay.target))
        await stub.UnaryUnary(note())
        relay.hold()
        call = stub.StreamStream(upward.blocks())
        await upward.waits_for(bench.ends.server)
        relay.resume()
        await read_until(call, upward.goes_on())
        call.cancel()

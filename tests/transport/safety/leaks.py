"""`python -m safety.leaks CALLS`: so many calls from a channel to a server in one process, of all kinds and endings.

After each tenth, with nothing under way, it prints a line of JSON: the bytes that the process takes, the blocks that
Python has allocated, and the objects that its collector knows.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import grpc
import uvloop

from safety.watch import own_memory
from yais import transport

TENTHS = 10
AT_ONCE = 100
BODY = b"x" * 100


class Callers:
    """Keeps so many raw calls under way, a tenth of which it cancels at any moment of their lives."""

    def __init__(self, channel: transport.Channel, random: Random) -> None:
        paths = ("Echo", "Echo", "Echo", "Echo", "Echo", "Copy", "Fail", "Unknown")
        self.sends = [channel.raw_unary(f"/test.Leak/{path}") for path in paths]
        self.random = random
        self.under_way: list[transport.ClientCall] = []
        self.left = 0
        self.open = 0
        self.done: asyncio.Event = asyncio.Event()
        self.statuses: dict[int, int] = {}

    async def make(self, count: int) -> None:
        self.left, self.open = count, 0
        self.done.clear()
        for _ in range(AT_ONCE):
            self.begin()
        await self.done.wait()
        self.under_way.clear()

    def begin(self) -> None:
        self.left -= 1
        self.open += 1
        number = self.random.random()
        send = self.sends[int(number * len(self.sends))]
        call = send(BODY, self.ended, timeout=10 if number < 0.5 else None)
        if number * 100 % 1 < 0.1:
            self.under_way.append(call)
            if len(self.under_way) > self.random.randrange(AT_ONCE):
                self.under_way.pop(0).cancel()

    def ended(self, call: transport.ClientCall) -> None:
        self.open -= 1
        self.statuses[call.status] = self.statuses.get(call.status, 0) + 1
        if self.left > 0:
            self.begin()
        elif not self.open:
            self.done.set()


class Servicer:
    async def copy(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-trailing", "1"),))
        await asyncio.sleep(0)
        return request

    async def fail(self, _: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")

    async def chat(self, requests: AsyncIterator[bytes], _: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Copy": grpc.unary_unary_rpc_method_handler(self.copy),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }


async def stream(channel: transport.Channel, random: Random) -> None:
    """A call with messages both ways, which is read to its end, cancelled or simply forgotten."""
    call = channel.stream_stream("/test.Leak/Chat")(metadata=(("x-leak", "1"),), timeout=10)
    for _ in range(3):
        await call.write(BODY)
        await call.read()
    ending = random.randrange(3)
    if ending == 0:
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    elif ending == 1:
        call.cancel()
    del call


async def once(channel: transport.Channel, path: str) -> None:
    """A call of the ordinary kind."""
    try:
        await channel.unary_unary(f"/test.Leak/{path}")(BODY, timeout=10)
    except grpc.aio.AioRpcError as error:
        assert path != "Copy", error


async def tenth(channel: transport.Channel, callers: Callers, random: Random, count: int) -> None:
    """Of all calls, one in 50 is a stream and one in 50 an ordinary one; these come in handfuls."""
    few = count // 50
    await callers.make(count - 2 * few)
    for start in range(0, few, AT_ONCE):
        size = min(AT_ONCE, few - start)
        await asyncio.gather(*(stream(channel, random) for _ in range(size)))
        await asyncio.gather(*(once(channel, random.choice(("Copy", "Fail", "Unknown"))) for _ in range(size)))


async def idle(before: int) -> None:
    """Until the streams that were forgotten or cancelled are gone."""
    while len(asyncio.all_tasks()) > before:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    gc.collect()


def sample() -> dict[str, Any]:
    objects = len(gc.get_objects())
    return {"bytes": own_memory(), "blocks": sys.getallocatedblocks(), "objects": objects}


async def main(calls: int) -> None:
    server, servicer, random = transport.server(), Servicer(), Random(1)
    server.add_raw_method("/test.Leak/Echo", lambda call, message: call.respond(message))
    server.add_registered_method_handlers("test.Leak", servicer.handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with transport.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        callers, tasks = Callers(channel, random), len(asyncio.all_tasks())
        for _ in range(TENTHS):
            await tenth(channel, callers, random, calls // TENTHS)
            await idle(tasks)
            print(json.dumps(sample()), flush=True)
        print(json.dumps(callers.statuses), flush=True)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

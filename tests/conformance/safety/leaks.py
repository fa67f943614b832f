"""`python -m conformance.safety.leaks CALLS`: so many calls, of all kinds and endings, from a channel to a server.

Both are in one process. After each tenth, with nothing under way, it prints a line of JSON: the bytes that the process
takes, the blocks that Python has allocated, and the objects that its collector knows.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import Any

import grpc
import uvloop

from conformance.safety.watch import own_memory
from yais import transport

TENTHS = 10
AT_ONCE = 100
# More cancelled calls of one connection would be taken for an attack.
A_CONNECTION = 10_000
PATHS = ("Copy", "Fail", "Unknown")
BODY = b"x" * 100
# Of these, about half are over before.
CANCELLED = 0.2
# About as long as a call takes, with so many others.
LASTING_S = 0.003


class Callers:
    """Keeps so many raw calls under way, a tenth of which it cancels at any moment of their lives."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.loop = asyncio.get_running_loop()
        self.left = 0
        self.open = 0
        self.done: asyncio.Event = asyncio.Event()
        self.statuses: dict[int, int] = {}

    async def make(self, channel: transport.Channel, count: int) -> None:
        paths = ("Echo", "Echo", "Echo", "Echo", "Echo", "Copy", "Fail", "Unknown")
        self.sends = [channel.raw_unary(f"/test.Leak/{path}") for path in paths]
        self.left, self.open = count, 0
        self.done.clear()
        for _ in range(AT_ONCE):
            self.begin()
        await self.done.wait()

    def begin(self) -> None:
        self.left -= 1
        self.open += 1
        number = self.random.random()
        send = self.sends[int(number * len(self.sends))]
        call = send(BODY, self.ended, timeout=10 if number < 0.5 else None)
        if self.random.random() < CANCELLED:
            self.loop.call_later(self.random.random() * LASTING_S, call.cancel)

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
    """A call with messages both ways, which is read to its end, cancelled or left until its time is up."""
    ending = random.randrange(3)
    call = channel.stream_stream("/test.Leak/Chat")(metadata=(("x-leak", "1"),), timeout=10 if ending else 0.1)
    # Its time may be up between two steps, and a write is then refused as one to a call that is over.
    with suppress(*((grpc.aio.AioRpcError, asyncio.InvalidStateError) if ending == 0 else ())):
        for _ in range(3):
            await call.write(BODY)
            await call.read()
    if ending == 1:
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    elif ending == 2:
        call.cancel()


async def once(channel: transport.Channel, path: str) -> None:
    """A call of the ordinary kind."""
    with suppress(grpc.aio.AioRpcError if path != "Copy" else ()):
        await channel.unary_unary(f"/test.Leak/{path}")(BODY, timeout=10)


async def some(port: int, callers: Callers, count: int) -> None:
    """So many calls on a connection of their own. One in 50 is a stream, one in 50 an ordinary one."""
    async with transport.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        few = count // 50
        await callers.make(channel, count - 2 * few)
        for start in range(0, few, AT_ONCE):
            size = min(AT_ONCE, few - start)
            await asyncio.gather(*(stream(channel, callers.random) for _ in range(size)))
            await asyncio.gather(*(once(channel, callers.random.choice(PATHS)) for _ in range(size)))


async def idle(before: int) -> None:
    """Until the streams that were left or cancelled are gone."""
    for _ in range(500):
        await asyncio.sleep(0.02)
        if len(asyncio.all_tasks()) == before:
            break
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
    callers, tasks = Callers(random), len(asyncio.all_tasks())
    for _ in range(TENTHS):
        for _ in range(calls // TENTHS // A_CONNECTION):
            await some(port, callers, A_CONNECTION)
        await idle(tasks)
        print(json.dumps(sample()), flush=True)
    print(json.dumps(callers.statuses), flush=True)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

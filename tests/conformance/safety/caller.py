"""`python -m conformance.safety.caller KIND HOSTILE GOOD`: a process with a native channel to each of two ports.

It calls the hostile server in one of several ways, and meanwhile asks the good one every few milliseconds, until its
stdin ends; then it prints the seconds that each of these calls took, as JSON.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import grpc
import uvloop

from conformance.safety.innocent import AT_LEAST, PAUSE_S
from yais import transport

AT_ONCE = 4
LIMIT_S = 0.3
_MB = 2**20

Work = Callable[[transport.Channel], Awaitable[None]]


async def unary(channel: transport.Channel) -> None:
    await channel.unary_unary("/test.Probe/Echo")(b"hello", timeout=LIMIT_S)


async def upload(channel: transport.Channel) -> None:
    await channel.unary_unary("/test.Probe/Echo")(bytes(_MB), timeout=LIMIT_S / 10)


async def stream(channel: transport.Channel) -> None:
    """Takes its time over each message."""
    async for _ in channel.unary_stream("/test.Probe/Pour")(b"", timeout=10 * LIMIT_S):
        await asyncio.sleep(LIMIT_S)


WORK: dict[str, Work] = {"unary": unary, "upload": upload, "stream": stream}


async def repeat(work: Work, channel: transport.Channel) -> None:
    while True:
        with suppress(grpc.aio.AioRpcError):
            await work(channel)
        await asyncio.sleep(PAUSE_S)


async def ask(channel: transport.Channel, is_over: asyncio.Event) -> list[float]:
    """Until it is over, though at least so often."""
    echo = channel.unary_unary("/test.Probe/Echo")
    waited: list[float] = []
    while not is_over.is_set() or len(waited) < AT_LEAST:
        begun = monotonic()
        assert await echo(b"hello") == b"hello"
        waited.append(monotonic() - begun)
        await asyncio.sleep(PAUSE_S)
    return waited


async def main(kind: str, hostile: str, good: str) -> None:
    options = [("grpc.initial_reconnect_backoff_ms", 100)]
    is_over = asyncio.Event()
    async with (
        transport.insecure_channel(f"127.0.0.1:{good}") as bystander,
        transport.insecure_channel(f"127.0.0.1:{hostile}", options=options) as victim,
    ):
        await bystander.channel_ready()
        print("ready", flush=True)
        asking = asyncio.create_task(ask(bystander, is_over))
        working = [asyncio.create_task(repeat(WORK[kind], victim)) for _ in range(AT_ONCE)]
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        is_over.set()
        waited = await asking
        for task in working:
            task.cancel()
        results = await asyncio.gather(*working, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    print(json.dumps(waited))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))

"""`python -m conformance.safety.caller KIND HOSTILE GOOD`: a process with a native channel to each of two ports.

From `begin` to `end` on its stdin it calls the hostile server in one of several ways, and has a canary call the good
one; then it prints what the canary saw, as chaos's canary does.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict

import grpc
import uvloop

from conformance.safety.watch import PATIENCE_S, RATE
from yais import transport
from yais.clients.protocol import MODEL_INFER
from yais.clients.siege.chaos.canary import Canary
from yais.proto.grpc_service_pb2 import ModelInferRequest

AT_ONCE = 4
LIMIT_S = 0.3
PAUSE_S = 0.005
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


async def main(kind: str, hostile: str, good: str) -> None:
    options = [("grpc.initial_reconnect_backoff_ms", 100)]
    is_over = asyncio.Event()
    async with (
        transport.insecure_channel(f"127.0.0.1:{good}") as bystander,
        transport.insecure_channel(f"127.0.0.1:{hostile}", options=options) as victim,
    ):
        canary = Canary(bystander.unary_unary(MODEL_INFER), ModelInferRequest(model_name="canary"), RATE, PATIENCE_S)
        await bystander.channel_ready()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        watching = asyncio.create_task(canary.watch(is_over))
        working = [asyncio.create_task(repeat(WORK[kind], victim)) for _ in range(AT_ONCE)]
        await asyncio.to_thread(sys.stdin.readline)
        is_over.set()
        window = await watching
        for task in working:
            task.cancel()
        results = await asyncio.gather(*working, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    print(json.dumps(asdict(window)), flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))

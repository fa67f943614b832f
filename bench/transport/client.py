"""Client of the echo service: the generated stub on the native transport or on grpc.aio, or the raw path.

It takes the same arguments, and the same lines, as `client.cc`.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any

import click
import grpc
import numpy as np
import uvloop

from bench.measure import BenchError
from bench.transport.contract import METHOD, Transport, contract, interface, message

# Channels to one address would otherwise share a connection.
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]

# Makes a call with so many messages, and checks the answer.
Call = Callable[[int], Awaitable[None]]


@click.command()
@click.option("--transport", type=click.Choice(["native", "grpcio"]), required=True)
@click.option("--raw", is_flag=True, help="Makes unary calls on the raw path.")
@click.argument("port", type=int)
@click.argument("connections", type=int)
@click.argument("in_flight", type=int)
@click.argument("size", type=int)
def main(transport: Transport, raw: bool, port: int, connections: int, in_flight: int, size: int) -> None:
    """Reads lines of KIND, CALLS and MESSAGES, and answers each with SECONDS, P50 and P99."""
    uvloop.run(work(transport, raw, f"127.0.0.1:{port}", connections, in_flight, message(size)))


async def work(transport: Transport, raw: bool, target: str, connections: int, in_flight: int, request: Any) -> None:
    channels = [interface(transport).insecure_channel(target, options=_OPTIONS) for _ in range(connections)]
    # Connecting is over before the first line is read, and so is in no figure.
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    callers = [_RawCaller(channel, request) if raw else _Caller(channel, request) for channel in channels]
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        kind, calls, messages = line.split()
        started, latencies = perf_counter(), []
        # Shared, so that all connections are busy until the last calls.
        turns = iter(range(int(calls)))
        places = [caller.repeat(kind, turns, int(messages)) for caller in callers for _ in range(in_flight)]
        for some in await asyncio.gather(*places):
            latencies += some
        # In microseconds.
        p50, p99 = np.percentile(latencies, (50, 99)) * 1e6
        print(perf_counter() - started, p50, p99, flush=True)
    for channel in channels:
        await channel.close()


def _check(right: bool) -> None:
    if not right:
        raise BenchError("a wrong answer")


class _Caller:
    """Calls through the generated stub, a coroutine for each place in the loop."""

    def __init__(self, channel: Any, request: Any) -> None:
        self._stub = contract().service.EchoStub(channel)
        self._request = request

    async def repeat(self, kind: str, turns: Iterator[int], messages: int) -> list[float]:
        call: Call = {"Do": self._do, "Expand": self._expand, "Collect": self._collect, "Chat": self._chat}[kind]
        latencies = []
        for _ in turns:
            started = perf_counter()
            await call(messages)
            latencies.append(perf_counter() - started)
        return latencies

    async def _do(self, messages: int) -> None:
        reply = await self._stub.Do(self._request)
        _check(reply.id == self._request.id and reply.raw == self._request.raw)

    async def _expand(self, messages: int) -> None:
        left = messages
        request = contract().messages.Message(id=messages, raw=self._request.raw)
        async for reply in self._stub.Expand(request):
            left -= 1
            _check(reply.id == left and reply.raw == request.raw)
        _check(left == 0)

    async def _collect(self, messages: int) -> None:
        call = self._stub.Collect()
        for _ in range(messages):
            await call.write(self._request)
        await call.done_writing()
        reply = await call
        _check(reply.id == messages and reply.raw == self._request.raw)

    async def _chat(self, messages: int) -> None:
        call = self._stub.Chat()
        for _ in range(messages):
            await call.write(self._request)
            reply = await call.read()
            _check(reply.id == self._request.id and reply.raw == self._request.raw)
        await call.done_writing()
        _check(await call.read() is grpc.aio.EOF)


class _RawCaller:
    """Calls on the raw path, where each answer's callback makes the next call. The bytes are the same both ways."""

    def __init__(self, channel: Any, request: Any) -> None:
        self._send = channel.raw_unary(METHOD)
        self._message = request.SerializeToString()

    async def repeat(self, kind: str, turns: Iterator[int], messages: int) -> list[float]:
        over: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        latencies: list[float] = []
        started = 0.0

        def send() -> None:
            nonlocal started
            if next(turns, None) is None:
                over.set_result(latencies)
            else:
                started = perf_counter()
                self._send(self._message, done)

        def done(call: Any) -> None:
            if call.status or call.message != self._message:
                over.set_exception(BenchError(f"a wrong answer: {call.status} {call.details}"))
            else:
                latencies.append(perf_counter() - started)
                send()

        send()
        return await over


if __name__ == "__main__":
    main()

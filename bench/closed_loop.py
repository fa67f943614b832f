"""Closed loops: one serialised request, sent again as soon as it is answered; and the check of the answers.

    python -m bench.closed_loop PORT REQUEST_FILE IN_FLIGHT TRANSPORT

Reads lines of MILLISECONDS, goes on for so long, and answers each with a `LoopResult` in JSON.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import cast

import grpc
import numpy as np
import uvloop

from bench.measure import BenchError, uncollected
from bench.transport.contract import Transport, interface
from yais.clients.protocol import infer_outputs, infer_request
from yais.engines import Array
from yais.proto import grpc_service_pb2 as pb

# Sends the bytes of a request, and waits for those of the reply.
Infer = Callable[[bytes], "grpc.aio.UnaryUnaryCall[bytes, bytes]"]

METHOD = "/inference.GRPCInferenceService/ModelInfer"
# Channels to one address would otherwise share a connection.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


def message(model: str, name: str, value: Array) -> bytes:
    """The bytes of a request with one input."""
    return infer_request(model, {name: value}).SerializeToString()


@asynccontextmanager
async def connected(port: int, connections: int, transport: Transport = "grpcio") -> AsyncIterator[list[Infer]]:
    """Connections that share nothing, ready to send."""
    open_channel = interface(transport).insecure_channel
    channels = [open_channel(f"127.0.0.1:{port}", options=_OPTIONS) for _ in range(connections)]
    try:
        yield [cast("Infer", channel.unary_unary(METHOD)) for channel in channels]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def closed_loop(calls: Sequence[Infer], in_flight: int, request: bytes, count: int) -> set[bytes]:
    """Sends `request` `count` times, with `in_flight` under way on each of `calls`; returns the distinct replies."""
    replies: set[bytes] = set()
    # One iterator for all workers: `count` is the sum, however unevenly they are answered.
    turns = iter(range(count))

    async def work(infer: Infer) -> None:
        for _ in turns:
            replies.add(await infer(request))

    await asyncio.gather(*(work(infer) for infer in calls for _ in range(in_flight)))
    return replies


def check(replies: Iterable[bytes], expected: Array) -> None:
    """Raises `BenchError` unless each reply's one output is `expected`."""
    for reply in replies:
        (output,) = infer_outputs(pb.ModelInferResponse.FromString(reply)).values()
        # Batches of another size may add up floats in another order, so answers need not be equal bit for bit.
        if output.shape != expected.shape or not np.allclose(output, expected, rtol=1e-4, atol=1e-5):
            raise BenchError(f"a wrong answer: {output}, expected {expected}")


@dataclass(frozen=True, slots=True)
class LoopResult:
    """How many requests were answered in so many seconds, and the distinct replies, in hexadecimal digits."""

    requests: int
    seconds: float
    replies: list[str]


async def main(port: int, request: bytes, in_flight: int, transport: Transport) -> None:
    async with connected(port, 1, transport) as (infer,):
        print("ready", flush=True)
        # In a thread, so that the loop still serves the connection while there is nothing to send.
        while line := await asyncio.to_thread(sys.stdin.readline):
            with uncollected():
                answered = await _loop_for(float(line) / 1e3, infer, request, in_flight)
            print(json.dumps(asdict(answered)), flush=True)


async def _loop_for(seconds: float, infer: Infer, request: bytes, in_flight: int) -> LoopResult:
    """Those still under way at the end are waited for, and their time counts."""
    began = perf_counter()
    replies: set[bytes] = set()

    async def turns() -> int:
        count = 0
        while perf_counter() - began < seconds:
            replies.add(await infer(request))
            count += 1
        return count

    counts = await asyncio.gather(*(turns() for _ in range(in_flight)))
    return LoopResult(sum(counts), perf_counter() - began, [reply.hex() for reply in replies])


if __name__ == "__main__":
    file, flight, kind = sys.argv[2:]
    uvloop.run(main(int(sys.argv[1]), Path(file).read_bytes(), int(flight), cast("Transport", kind)))

"""The load generator: one serialised request, sent again and again in a closed loop; and the check of its answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from bench.measure import BenchError
from bench.transport.contract import Transport, interface
from yais.clients.protocol import infer_outputs, infer_request
from yais.proto import grpc_service_pb2 as pb

Array = NDArray[Any]
# Sends the bytes of a request, and waits for those of the reply.
Infer = Callable[[bytes], "grpc.aio.UnaryUnaryCall[bytes, bytes]"]

METHOD = "/inference.GRPCInferenceService/ModelInfer"
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
        yield [_infer(channel) for channel in channels]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def closed_loop(calls: Sequence[Infer], in_flight: int, request: bytes, count: int) -> set[bytes]:
    """Sends `request` `count` times, with `in_flight` under way on each of `calls`; returns the distinct replies."""
    replies: set[bytes] = set()
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
        if output.shape != expected.shape or not np.allclose(output, expected, rtol=1e-4, atol=1e-5):
            raise BenchError(f"a wrong answer: {output}, expected {expected}")


def _infer(channel: grpc.aio.Channel) -> Infer:
    untyped: Any = channel.unary_unary(METHOD)
    infer: Infer = untyped
    return infer

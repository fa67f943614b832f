"""The cases that look at the compressed flag of messages, which a tap on the client's connection has noted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from conformance.interop.cases import LARGE_RESPONSE, REQUEST_SIZES, check_status, check_zeros, large_request, stub
from conformance.interop.messages import asked, messages, noise, services, zeros
from conformance.interop.tap import Tap

FIRST_SIZE, SECOND_SIZE = 27_182, 45_904
RESPONSES = ((31_415, True), (92_653, False))

CompressedCase = Callable[[grpc.aio.Channel, Tap], Awaitable[None]]


def reply_flags(tap: Tap) -> list[bool]:
    """Those of the latest call on the latest connection."""
    return list(tap.connections.values())[-1].replies.latest()


def unary(channel: grpc.aio.Channel, compressed: bool, told: bool) -> Any:
    compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
    return stub(channel).UnaryCall(large_request(expect_compressed=asked(told)), compression=compression)


async def client_compressed_unary(channel: grpc.aio.Channel, tap: Tap) -> None:
    await check_status(unary(channel, compressed=False, told=True), grpc.StatusCode.INVALID_ARGUMENT)
    await check_status(unary(channel, compressed=True, told=False), grpc.StatusCode.INVALID_ARGUMENT)
    check_zeros(await unary(channel, compressed=True, told=True), LARGE_RESPONSE)
    check_zeros(await unary(channel, compressed=False, told=False), LARGE_RESPONSE)


async def client_compressed_streaming(channel: grpc.aio.Channel, tap: Tap) -> None:
    await check_status(_probe(channel), grpc.StatusCode.INVALID_ARGUMENT)
    # grpc.aio compresses a call's messages or leaves them; noise is what it leaves.
    call = stub(channel).StreamingInputCall(_mixed_requests(), compression=grpc.Compression.Gzip)
    assert (await call).aggregated_payload_size == FIRST_SIZE + SECOND_SIZE


async def _probe(channel: grpc.aio.Channel) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield messages.StreamingInputCallRequest(payload=zeros(REQUEST_SIZES[0]), expect_compressed=asked(True))

    await stub(channel).StreamingInputCall(requests())


async def _mixed_requests() -> AsyncIterator[Any]:
    yield messages.StreamingInputCallRequest(payload=zeros(FIRST_SIZE), expect_compressed=asked(True))
    yield messages.StreamingInputCallRequest(payload=noise(SECOND_SIZE), expect_compressed=asked(False))


async def server_compressed_unary(channel: grpc.aio.Channel, tap: Tap) -> None:
    for compressed in (True, False):
        check_zeros(await stub(channel).UnaryCall(large_request(response_compressed=asked(compressed))), LARGE_RESPONSE)
        assert reply_flags(tap) == [compressed]


async def server_compressed_streaming(channel: grpc.aio.Channel, tap: Tap) -> None:
    parameters = [messages.ResponseParameters(size=size, compressed=asked(each)) for size, each in RESPONSES]
    request = messages.StreamingOutputCallRequest(response_parameters=parameters)
    responses = [each async for each in services.TestServiceStub(channel).StreamingOutputCall(request)]
    for response, (size, _) in zip(responses, RESPONSES, strict=True):
        check_zeros(response, size)
    assert reply_flags(tap) == [compressed for _, compressed in RESPONSES]


COMPRESSED_CASES: dict[str, CompressedCase] = {
    case.__name__: case
    for case in (
        client_compressed_unary,
        client_compressed_streaming,
        server_compressed_unary,
        server_compressed_streaming,
    )
}

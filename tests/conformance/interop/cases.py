"""The client's side of the cases, once for all Python transports: each returns if it held, and raises what did not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from conformance.interop.messages import messages, services, zeros

LARGE_REQUEST, LARGE_RESPONSE = 271_828, 314_159
REQUEST_SIZES = (27_182, 8, 1_828, 45_904)
RESPONSE_SIZES = (31_415, 9, 2_653, 58_979)
METADATA = (
    ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
    ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
)
SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"

Case = Callable[[grpc.aio.Channel], Awaitable[None]]


def stub(channel: grpc.aio.Channel) -> Any:
    return services.TestServiceStub(channel)


def large_request(**fields: Any) -> Any:
    return messages.SimpleRequest(payload=zeros(LARGE_REQUEST), response_size=LARGE_RESPONSE, **fields)


def output_request(request_size: int, *response_sizes: int) -> Any:
    parameters = [messages.ResponseParameters(size=size) for size in response_sizes]
    return messages.StreamingOutputCallRequest(payload=zeros(request_size), response_parameters=parameters)


def check_zeros(response: Any, size: int) -> None:
    # Not an assertion on the bodies, whose difference would take pytest minutes to print.
    assert len(response.payload.body) == size
    assert not any(response.payload.body)


async def check_status(call: Any, code: grpc.StatusCode, details: str | None = None) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code
    assert details is None or caught.value.details() == details


async def empty_unary(channel: grpc.aio.Channel) -> None:
    assert await stub(channel).EmptyCall(messages.Empty()) == messages.Empty()


async def large_unary(channel: grpc.aio.Channel) -> None:
    check_zeros(await stub(channel).UnaryCall(large_request()), LARGE_RESPONSE)


async def client_streaming(channel: grpc.aio.Channel) -> None:
    async def requests() -> AsyncIterator[Any]:
        for size in REQUEST_SIZES:
            yield messages.StreamingInputCallRequest(payload=zeros(size))

    response = await stub(channel).StreamingInputCall(requests())
    assert response.aggregated_payload_size == sum(REQUEST_SIZES)


async def server_streaming(channel: grpc.aio.Channel) -> None:
    responses = [each async for each in stub(channel).StreamingOutputCall(output_request(0, *RESPONSE_SIZES))]
    for response, size in zip(responses, RESPONSE_SIZES, strict=True):
        check_zeros(response, size)


async def ping_pong(channel: grpc.aio.Channel) -> None:
    call = stub(channel).FullDuplexCall()
    for request_size, response_size in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True):
        await call.write(output_request(request_size, response_size))
        check_zeros(await call.read(), response_size)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def empty_stream(channel: grpc.aio.Channel) -> None:
    call = stub(channel).FullDuplexCall()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def cancel_after_begin(channel: grpc.aio.Channel) -> None:
    call = stub(channel).StreamingInputCall()
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is grpc.StatusCode.CANCELLED


async def cancel_after_first_response(channel: grpc.aio.Channel) -> None:
    call = stub(channel).FullDuplexCall()
    await call.write(output_request(REQUEST_SIZES[0], RESPONSE_SIZES[0]))
    check_zeros(await call.read(), RESPONSE_SIZES[0])
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def timeout_on_sleeping_server(channel: grpc.aio.Channel) -> None:
    hasty = stub(channel).FullDuplexCall(timeout=0.001)
    assert await hasty.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # Time enough to write: where a write and the deadline meet, grpcio's status may be INTERNAL.
    call = stub(channel).FullDuplexCall(timeout=0.2)
    await call.write(output_request(REQUEST_SIZES[0]))
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def custom_metadata(channel: grpc.aio.Channel) -> None:
    unary = stub(channel).UnaryCall(large_request(), metadata=METADATA)
    check_zeros(await unary, LARGE_RESPONSE)
    await _check_metadata(unary)
    duplex = stub(channel).FullDuplexCall(metadata=METADATA)
    await duplex.write(output_request(LARGE_REQUEST, LARGE_RESPONSE))
    await duplex.done_writing()
    check_zeros(await duplex.read(), LARGE_RESPONSE)
    assert await duplex.read() is grpc.aio.EOF
    await _check_metadata(duplex)


async def _check_metadata(call: grpc.aio.Call) -> None:
    (initial, sent), (trailing, sent_bytes) = METADATA
    assert (await call.initial_metadata()).get_all(initial) == [sent]
    assert (await call.trailing_metadata()).get_all(trailing) == [sent_bytes]


async def status_code_and_message(channel: grpc.aio.Channel) -> None:
    asked = messages.EchoStatus(code=grpc.StatusCode.UNKNOWN.value[0], message="test status message")
    unary = stub(channel).UnaryCall(messages.SimpleRequest(response_status=asked))
    await check_status(unary, grpc.StatusCode.UNKNOWN, asked.message)
    duplex = stub(channel).FullDuplexCall()
    await duplex.write(messages.StreamingOutputCallRequest(response_status=asked))
    await duplex.done_writing()
    await check_status(duplex.read(), grpc.StatusCode.UNKNOWN, asked.message)


async def special_status_message(channel: grpc.aio.Channel) -> None:
    asked = messages.EchoStatus(code=grpc.StatusCode.UNKNOWN.value[0], message=SPECIAL_MESSAGE)
    unary = stub(channel).UnaryCall(messages.SimpleRequest(response_status=asked))
    await check_status(unary, grpc.StatusCode.UNKNOWN, asked.message)


async def unimplemented_method(channel: grpc.aio.Channel) -> None:
    await check_status(stub(channel).UnimplementedCall(messages.Empty()), grpc.StatusCode.UNIMPLEMENTED)
    # The generated base class may answer the above; this one nobody has.
    unknown = channel.unary_unary("/grpc.testing.TestService/UnknownCall")
    await check_status(unknown(b""), grpc.StatusCode.UNIMPLEMENTED)


async def unimplemented_service(channel: grpc.aio.Channel) -> None:
    call = services.UnimplementedServiceStub(channel).UnimplementedCall(messages.Empty())
    await check_status(call, grpc.StatusCode.UNIMPLEMENTED)


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        empty_unary,
        large_unary,
        client_streaming,
        server_streaming,
        ping_pong,
        empty_stream,
        cancel_after_begin,
        cancel_after_first_response,
        timeout_on_sleeping_server,
        custom_metadata,
        status_code_and_message,
        special_status_message,
        unimplemented_method,
        unimplemented_service,
    )
}

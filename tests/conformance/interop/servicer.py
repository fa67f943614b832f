"""The service of interop.proto, once for all Python transports."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio

from conformance.interop.messages import messages, services, zeros
from conformance.interop.tap import Tap

ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"
STATUSES = {status.value[0]: status for status in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]


class InteropServicer(services.TestServiceServicer):
    """Answers as the gRPC project's interoperability cases ask.

    UnimplementedCall is left to the generated base. How requests were sent, `tap` knows; cases that expect something
    of it call through the tap, one call after the other.
    """

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    async def EmptyCall(self, request: Any, context: Context) -> Any:
        return messages.Empty()

    async def UnaryCall(self, request: Any, context: Context) -> Any:
        await self._check_flag(request, 0, context)
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
            # grpc.aio forgets the compression of a single reply unless the metadata goes ahead of it.
            await context.send_initial_metadata(())
        else:
            await _echo_metadata(context)
        # A status that is set, where FullDuplexCall aborts: both ways must reach the caller alike.
        context.set_code(STATUSES[request.response_status.code])
        context.set_details(request.response_status.message)
        return messages.SimpleResponse(payload=zeros(request.response_size))

    async def StreamingInputCall(self, requests: AsyncIterator[Any], context: Context) -> Any:
        size = number = 0
        async for request in requests:
            await self._check_flag(request, number, context)
            size += len(request.payload.body)
            number += 1
        return messages.StreamingInputCallResponse(aggregated_payload_size=size)

    async def StreamingOutputCall(self, request: Any, context: Context) -> AsyncIterator[Any]:
        context.set_compression(grpc.Compression.Gzip)
        async for response in _asked_for(request.response_parameters, context):
            yield response

    async def FullDuplexCall(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        await _echo_metadata(context)
        async for request in requests:
            if request.response_status.code:
                await context.abort(STATUSES[request.response_status.code], request.response_status.message)
            async for response in _asked_for(request.response_parameters, context):
                yield response

    async def _check_flag(self, request: Any, number: int, context: Context) -> None:
        """Aborts unless the call's message `number` came compressed or not as it says of itself."""
        if not request.HasField("expect_compressed"):
            return
        port = int(context.peer().rsplit(":", 1)[1])
        if self._tap.connections[port].requests.latest()[number] != request.expect_compressed.value:
            text = "expect_compressed differs from the flag on the wire"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


async def _echo_metadata(context: Context) -> None:
    received = dict(context.invocation_metadata() or ())
    if ECHO_TRAILING in received:
        context.set_trailing_metadata(((ECHO_TRAILING, received[ECHO_TRAILING]),))
    if ECHO_INITIAL in received:
        await context.send_initial_metadata(((ECHO_INITIAL, received[ECHO_INITIAL]),))


async def _asked_for(parameters: Sequence[Any], context: Context) -> AsyncIterator[Any]:
    for each in parameters:
        await asyncio.sleep(each.interval_us / 1e6)
        if not each.compressed.value:
            context.disable_next_message_compression()
        yield messages.StreamingOutputCallResponse(payload=zeros(each.size))

"""Runs the methods of servicers: one coroutine for each call, from its request to its status."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from typing import Any

import grpc

from yais.transport.interceptors import CallDetails, Handler, Lookup
from yais.transport.server_call import Method, ServerCall
from yais.transport.servicer import Context

_NEVER = float("inf")

Serve = Callable[[Context, Any], Coroutine[Any, Any, None]]


class Runner:
    """Starts and counts the coroutines of one server's calls."""

    def __init__(self, limit: int | None, compression: grpc.Compression | None) -> None:
        self.active = 0
        self._limit = limit
        self._compression = compression
        self._idle = asyncio.Event()

    def method(self, handler: Handler) -> Method:
        """What the transport calls for a method whose `handler` is known."""
        serve = _SERVE[bool(handler.request_streaming), bool(handler.response_streaming)]

        def start(call: ServerCall, message: bytes | None) -> None:
            self._start(call, serve, handler, message)

        return Method(start, takes_stream=bool(handler.request_streaming))

    def late_method(self, lookup: Lookup) -> Method:
        """What it calls where `lookup` has to find the handler of each call anew."""

        def start(call: ServerCall, _: None) -> None:
            self._start(call, _looked_up, lookup, None)

        return Method(start, takes_stream=True)

    async def wait_idle(self) -> None:
        """Waits until no coroutine runs any more."""
        while self.active:
            self._idle.clear()
            await self._idle.wait()

    def over(self) -> None:
        """A coroutine has ended."""
        self.active -= 1
        if not self.active:
            self._idle.set()

    def _start(self, call: ServerCall, serve: Serve, handler: Any, message: bytes | None) -> None:
        if self._limit is not None and self.active >= self._limit:
            call.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
            return
        call.listener = context = Context(call, handler, self.over)
        if self._compression:
            context.set_compression(self._compression)
        self.active += 1
        loop = call.connection.loop
        if call.deadline != _NEVER:
            context.timer = loop.call_at(call.deadline, context.expire)
        context.task = loop.create_task(serve(context, message))


def _served(serve: Serve) -> Serve:
    """`serve` with an end to whatever it raises."""

    async def run(context: Context, message: Any) -> None:
        context.is_running = True
        try:
            await serve(context, message)
        except BaseException as error:
            context.finish_unexpectedly(error)
        finally:
            context.over()

    return run


async def _unary_unary(context: Context, message: bytes) -> None:
    """The commonest kind has no coroutine around it: one more would take a tenth of its time."""
    context.is_running = True
    try:
        answer = context.handler.unary_unary(context.deserialize(message), context)
        context.answer(await answer if hasattr(answer, "__await__") else answer)
    except BaseException as error:
        context.finish_unexpectedly(error)
    finally:
        context.over()


@_served
async def _unary_stream(context: Context, message: bytes) -> None:
    await _send_all(context.handler.unary_stream(context.deserialize(message), context), context)


@_served
async def _stream_unary(context: Context, _: None) -> None:
    answer = context.handler.stream_unary(context.requests(), context)
    context.answer(await answer if hasattr(answer, "__await__") else answer)


@_served
async def _stream_stream(context: Context, _: None) -> None:
    await _send_all(context.handler.stream_stream(context.requests(), context), context)


@_served
async def _looked_up(context: Context, _: None) -> None:
    """For a call whose handler has to be found first; until then `context.handler` is what finds it."""
    lookup: Lookup = context.handler
    handler = await lookup(CallDetails(context.call))
    if handler is None:
        context.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return
    context.handler = handler
    message = None if handler.request_streaming else await context.read_only()
    await _SERVE[bool(handler.request_streaming), bool(handler.response_streaming)](context, message)


async def _send_all(answers: AsyncIterable[Any] | Awaitable[None], context: Context) -> None:
    """A method either yields its answers or writes them to its context.

    One that is not implemented is no coroutine in generated base classes.
    """
    if isinstance(answers, AsyncIterable):
        async for answer in answers:
            await context.write(answer)
    elif hasattr(answers, "__await__"):
        await answers
    context.finish_as_set()


_SERVE: dict[tuple[bool, bool], Serve] = {
    (False, False): _unary_unary,
    (False, True): _unary_stream,
    (True, False): _stream_unary,
    (True, True): _stream_stream,
}

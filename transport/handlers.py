"""Runner of the methods of servicers: one coroutine for each call, from its request to its status."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from typing import Any

import grpc

from yais.transport.interceptors import CallDetails, Handler, Lookup
from yais.transport.server_call import Method, ServerCall
from yais.transport.servicer import ServicerContext

_NEVER = float("inf")

Serve = Callable[[ServicerContext, Any], Coroutine[Any, Any, None]]


class Runner:
    """Starts and counts the coroutines of one server's calls."""

    def __init__(self, limit: int | None, compression: grpc.Compression | None) -> None:
        self.active = 0
        self._limit = limit
        self._compression = compression
        self._idle = asyncio.Event()

    def method(self, handler: Handler) -> Method:
        """The method of the transport for a path whose `handler` is known."""
        serve = _SERVE[bool(handler.request_streaming), bool(handler.response_streaming)]

        def start(call: ServerCall, message: bytes | None) -> None:
            self._start(call, serve, handler, message)

        return Method(start, takes_stream=bool(handler.request_streaming))

    def generic_method(self, lookup: Lookup) -> Method:
        """The method of the transport for paths where `lookup` has to find the handler of each call."""

        def start(call: ServerCall, _: None) -> None:
            self._start(call, _generic, lookup, None)

        # Whether the request is a stream is known only then; one that is not is read by `read_only`.
        return Method(start, takes_stream=True)

    async def wait_idle(self) -> None:
        """Waits until no coroutine runs any more."""
        # In a loop, since a call may have begun between the event and this task.
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
        call.listener = context = ServicerContext(call, handler, self.over)
        if self._compression:
            context.set_compression(self._compression)
        self.active += 1
        loop = call.connection.loop
        # The method gets no more time than its client waits; the task is cancelled by `expire`.
        if call.deadline != _NEVER:
            context.timer = loop.call_at(call.deadline, context.expire)
        context.task = loop.create_task(serve(context, message))


def _finishing(serve: Serve) -> Serve:
    """`serve`, with a status for whatever it raises."""

    async def run(context: ServicerContext, message: Any) -> None:
        context.is_running = True
        try:
            await serve(context, message)
        except BaseException as error:
            context.finish_unexpectedly(error)
        finally:
            context.over()

    return run


async def _unary_unary(context: ServicerContext, message: bytes) -> None:
    # Not decorated, for this is the commonest kind, and one more coroutine would take a tenth of its time.
    context.is_running = True
    try:
        answer = context.handler.unary_unary(context.deserialize(message), context)
        context.answer(await answer if hasattr(answer, "__await__") else answer)
    except BaseException as error:
        context.finish_unexpectedly(error)
    finally:
        context.over()


@_finishing
async def _unary_stream(context: ServicerContext, message: bytes) -> None:
    await _send_all(context.handler.unary_stream(context.deserialize(message), context), context)


@_finishing
async def _stream_unary(context: ServicerContext, _: None) -> None:
    answer = context.handler.stream_unary(context.requests(), context)
    context.answer(await answer if hasattr(answer, "__await__") else answer)


@_finishing
async def _stream_stream(context: ServicerContext, _: None) -> None:
    await _send_all(context.handler.stream_stream(context.requests(), context), context)


@_finishing
async def _generic(context: ServicerContext, _: None) -> None:
    """Finds the handler of the call by the lookup that stands in for it, and calls its method."""
    lookup: Lookup = context.handler
    handler = await lookup(CallDetails(context.call))
    if handler is None:
        context.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return
    context.handler = handler
    message = None if handler.request_streaming else await context.read_only()
    await _SERVE[bool(handler.request_streaming), bool(handler.response_streaming)](context, message)


async def _send_all(answers: AsyncIterable[Any] | Awaitable[None], context: ServicerContext) -> None:
    """Sends what a method yields, or waits while it writes its answers to its context."""
    # A plain function, as in generated base classes, has done all it does by now.
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

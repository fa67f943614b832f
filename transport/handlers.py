"""Runs the methods of servicers: one coroutine for each call, from its request to its status."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from typing import Any

import grpc

from yais.transport.interceptors import CallDetails, Handler, Lookup
from yais.transport.server_call import Method, ServerCall
from yais.transport.servicer import Context

_NEVER = float("inf")

Serve = Callable[[Any, Context, Any], Coroutine[Any, Any, None]]


class Runner:
    """Starts and counts the coroutines of one server's calls."""

    def __init__(self, limit: int | None, compression: grpc.Compression | None) -> None:
        self.active = 0
        self._limit = limit
        self._compression = compression
        self._idle = asyncio.Event()

    def method(self, handler: Handler) -> Method:
        """What the transport calls for a method whose `handler` is known."""
        serve = _serve(handler)

        def start(call: ServerCall, message: bytes | None) -> None:
            self._start(call, serve, handler, message)

        return Method(start, takes_stream=bool(handler.request_streaming))

    def late_method(self, lookup: Lookup) -> Method:
        """What it calls where `lookup` has to find the handler of each call anew."""

        def start(call: ServerCall, _: None) -> None:
            self._start(call, _look_up_and_serve, lookup, None)

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
        call.listener = context = Context(call, self._compression, self.over)
        loop = call.connection.loop
        context.task = loop.create_task(_run(context, serve, handler, message))
        self.active += 1
        if call.deadline != _NEVER:
            context.timer = loop.call_at(call.deadline, context.expire)


async def _run(context: Context, serve: Serve, handler: Any, message: bytes | None) -> None:
    context.is_running = True
    try:
        await serve(handler, context, message)
    except grpc.aio.AbortError:
        pass
    except asyncio.CancelledError:
        context.call.fail(grpc.StatusCode.CANCELLED, "The call was cancelled")
    except OverflowError as error:
        context.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
    except Exception as error:
        context.finish_unexpectedly(error)
    finally:
        context.over()


def _serve(handler: Handler) -> Serve:
    serve: Serve = _SERVE[bool(handler.request_streaming), bool(handler.response_streaming)]
    return serve


async def _look_up_and_serve(lookup: Lookup, context: Context, _: None) -> None:
    handler = await lookup(CallDetails(context.call))
    if handler is None:
        context.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return
    message = None if handler.request_streaming else await context.read_only()
    await _serve(handler)(handler, context, message)


async def _unary_unary(handler: Handler, context: Context, message: bytes) -> None:
    context.speak(handler)
    answer = handler.unary_unary(context.deserialize(message), context)
    context.answer(await answer if _is_awaitable(answer) else answer)


async def _unary_stream(handler: Handler, context: Context, message: bytes) -> None:
    context.speak(handler)
    await _send_all(handler.unary_stream(context.deserialize(message), context), context)


async def _stream_unary(handler: Handler, context: Context, _: None) -> None:
    context.speak(handler)
    answer = handler.stream_unary(context.requests(), context)
    context.answer(await answer if _is_awaitable(answer) else answer)


async def _stream_stream(handler: Handler, context: Context, _: None) -> None:
    context.speak(handler)
    await _send_all(handler.stream_stream(context.requests(), context), context)


def _is_awaitable(answer: Any) -> bool:
    """Not so for methods that are not implemented: what generated base classes have for them are no coroutines."""
    return hasattr(answer, "__await__")


async def _send_all(answers: AsyncIterable[Any] | Awaitable[None], context: Context) -> None:
    """A method either yields its answers or writes them to its context."""
    if isinstance(answers, AsyncIterable):
        async for answer in answers:
            await context.write(answer)
    elif _is_awaitable(answers):
        await answers
    context.finish_as_set()


_SERVE: dict[tuple[bool, bool], Any] = {
    (False, False): _unary_unary,
    (False, True): _unary_stream,
    (True, False): _stream_unary,
    (True, True): _stream_stream,
}

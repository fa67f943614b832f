"""Runs the methods of servicers: one coroutine for each call, from its request to its status."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import grpc

from yais.transport.interceptors import CallDetails, Handler, Lookup
from yais.transport.server_call import Method, ServerCall
from yais.transport.servicer import Context

Serve = Callable[[Handler, Context, Any], Coroutine[Any, Any, None]]


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
            context = Context(call, self._compression)
            context.speak(handler)
            self._start(context, partial(serve, handler, context, message))

        return Method(start, takes_stream=bool(handler.request_streaming))

    def late_method(self, lookup: Lookup) -> Method:
        """What it calls where `lookup` has to find the handler of each call anew."""

        def start(call: ServerCall, _: None) -> None:
            context = Context(call, self._compression)
            self._start(context, partial(_look_up_and_serve, lookup, context))

        return Method(start, takes_stream=True)

    def _start(self, context: Context, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        call = context.call
        if self._limit is not None and self.active >= self._limit:
            call.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
            return
        self.active += 1
        call.listener = context
        loop = call.connection.loop
        context.task = loop.create_task(self._run(context, work))
        if call.deadline != float("inf"):
            context.timer = loop.call_at(call.deadline, context.expire)

    async def wait_idle(self) -> None:
        """Waits until no coroutine runs any more."""
        while self.active:
            self._idle.clear()
            await self._idle.wait()

    async def _run(self, context: Context, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
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
            self.active -= 1
            if not self.active:
                self._idle.set()


def _serve(handler: Handler) -> Serve:
    serve: Serve = _SERVE[bool(handler.request_streaming), bool(handler.response_streaming)]
    return serve


async def _look_up_and_serve(lookup: Lookup, context: Context) -> None:
    handler = await lookup(CallDetails.of(context.call))
    if handler is None:
        context.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return
    context.speak(handler)
    message = None if handler.request_streaming else await context.read_only()
    await _serve(handler)(handler, context, message)


async def _unary_unary(handler: Handler, context: Context, message: bytes) -> None:
    context.answer(await _result(handler.unary_unary(context.deserialize(message), context)))


async def _unary_stream(handler: Handler, context: Context, message: bytes) -> None:
    await _send_all(handler.unary_stream(context.deserialize(message), context), context)


async def _stream_unary(handler: Handler, context: Context, _: None) -> None:
    context.answer(await _result(handler.stream_unary(context.requests(), context)))


async def _stream_stream(handler: Handler, context: Context, _: None) -> None:
    await _send_all(handler.stream_stream(context.requests(), context), context)


async def _result(answer: Any) -> Any:
    """Generated base classes answer for a method that is not implemented without being coroutines."""
    return await answer if hasattr(answer, "__await__") else answer


async def _send_all(answers: AsyncIterable[Any] | Awaitable[None], context: Context) -> None:
    """A method either yields its answers or writes them to its context."""
    if isinstance(answers, AsyncIterable):
        async for answer in answers:
            await context.write(answer)
    else:
        await _result(answers)
    context.finish_as_set()


_SERVE: dict[tuple[bool, bool], Any] = {
    (False, False): _unary_unary,
    (False, True): _unary_stream,
    (True, False): _stream_unary,
    (True, True): _stream_stream,
}

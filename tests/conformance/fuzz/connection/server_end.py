"""A server's end: the methods that it serves, at once, later, twice, never, or by a servicer's coroutines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import grpc

from conformance.fuzz.connection.end import BUFFERS, Act, End, InjectedError, buffers_of, extra_of
from yais.transport.handlers import Runner
from yais.transport.protocols import ServerProtocol
from yais.transport.server_call import Method, ServerCall

_CODES = tuple(grpc.StatusCode)


class ServerEnd(End):
    """Owns a `ServerConnection`, and serves `methods`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = 0
        self.methods = self._methods() | self._coroutines()

    def connection_opened(self, connection: ServerProtocol) -> None:
        self.is_open += 1

    def send(self, call: ServerCall, buffers: tuple[Any, ...], flag: bool = False) -> None:
        is_over = call.is_over
        call.send(buffers[0] if buffers else b"", flag)
        if not is_over:
            self.note(call, buffers[:1], flag)

    def finish(self, call: ServerCall) -> None:
        call.finish(0)

    def respond(self, call: ServerCall, buffers: tuple[Any, ...]) -> None:
        is_over = call.is_over
        call.respond(*buffers)
        if not is_over:
            self.note(call, buffers, False)

    def connection_actions(self) -> list[Act]:
        return [
            *super().connection_actions(),
            lambda connection, a, b: connection.drain(),
            lambda connection, a, b: connection.cancel_all(),
            lambda connection, a, b: connection.sweep(monotonic() + a - 128, b) or connection.abort(),
        ]

    def call_actions(self) -> list[Act]:
        return [
            *super().call_actions(),
            lambda call, a, b: self.respond(call, buffers_of(a, b)),
            lambda call, a, b: call.fail(_CODES[a % len(_CODES)], "why? \u00e9\n" * b),
            lambda call, a, b: call.finish(a, "" if b & 4 else "text", extra_of(b)),
            lambda call, a, b: call.send_headers(extra_of(a)),
            lambda call, a, b: (call.metadata, call.path, call.accepted_encodings, call.deadline, call.is_over),
        ]

    def _methods(self) -> dict[bytes, Method]:
        def unary(answer: Callable[[Any, Any], None], *, is_raw: bool = True) -> Method:
            return Method(self._taking(answer), is_raw=is_raw)

        def stream(answer: Callable[[Any, Any], None]) -> Method:
            return Method(self._taking(answer), takes_stream=True)

        return {
            b"/f/raw": unary(lambda call, message: None),
            b"/f/now": unary(lambda call, message: self.respond(call, (message,))),
            b"/f/large": unary(lambda call, message: self.respond(call, BUFFERS[5:12]), is_raw=False),
            b"/f/fail": unary(lambda call, message: call.fail(grpc.StatusCode.NOT_FOUND, "no")),
            b"/f/raise": unary(_raise),
            b"/f/reset": unary(lambda call, message: call.reset(8)),
            b"/f/echo": stream(lambda call, _: self.listen(call, is_echo=True)),
            b"/f/deaf": stream(lambda call, _: self.listen(call, is_echo=False)),
            b"/f/close": stream(lambda call, _: call.connection.terminate()),
        }

    def _taking(self, answer: Callable[[Any, Any], None]) -> Callable[[ServerCall, Any], None]:
        def callback(call: ServerCall, message: Any) -> None:
            self.calls.append(call)
            self.sent[call] = bytearray()
            self.heard[call] = [] if message is None else [bytes(message)]
            self.take_nested(call)
            answer(call, message)

        return callback

    def _coroutines(self) -> dict[bytes, Method]:
        """The same through the servicer's machinery, whose calls are tasks."""
        runner = Runner(20, grpc.Compression.Gzip)
        return {
            b"/f/unary": runner.method(grpc.unary_unary_rpc_method_handler(_reverse)),
            b"/f/stream": runner.method(grpc.unary_stream_rpc_method_handler(_split)),
            b"/f/both": runner.method(grpc.stream_stream_rpc_method_handler(_each)),
        }


def _raise(call: ServerCall, message: Any) -> None:
    raise InjectedError


async def _reverse(message: bytes, context: Any) -> bytes:
    if message.startswith(b"w"):
        await asyncio.get_running_loop().create_future()
    context.set_trailing_metadata((("key", "value"),))
    return message[::-1]


async def _split(message: bytes, context: Any) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("key", "value"),))
    for at in range(0, len(message), 1000):
        yield message[at : at + 1000]


async def _each(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.startswith(b"a"):
            await context.abort(grpc.StatusCode.ABORTED, "as asked")
        yield message

"""gRPC server under the services: the native transport's, or grpcio's under asyncio; and raw unary calls."""

import asyncio
import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Literal, Protocol

import grpc
from google.protobuf.message import DecodeError

from yais.server.errors import UnsupportedError
from yais.server.grpc.status import UNREADABLE, CallContext, abort, abort_with
from yais.server.refusals import RefusalLog

_UNLIMITED = -1
# Beyond the usual bounds of a queue, so that a request is refused in words and does not wait inside of its client.
_MAX_STREAMS = 10_000
# What clients may have sent on one connection of messages that are not complete: at least so much, or so many messages.
_HELD = 256 * 2**20
_HELD_MESSAGES = 4
# grpcio reports "no deadline" as centuries.
_FOREVER_S = 1e9

TransportName = Literal["native", "grpcio"]
Deserializer = Callable[[bytes], Any]
Outcome = bytes | tuple[grpc.StatusCode, str]


class CallListener(Protocol):
    """Hears what becomes of a call."""

    def changed(self) -> None: ...

    def closed(self) -> None:
        """The call is over."""


class RawCall(Protocol):
    """Answered once, by `respond` or `fail`; whatever is said when it `is_over` is lost.

    `listener`, while there is one, hears of its end, also of one that the caller made. `deadline` is in seconds of the
    monotonic clock, infinite where there is none.
    """

    listener: CallListener | None

    @property
    def deadline(self) -> float: ...

    @property
    def is_over(self) -> bool: ...

    def respond(self, *buffers: bytes) -> None: ...

    def fail(self, code: grpc.StatusCode, details: str = "") -> None: ...

    def hold_back(self) -> None:
        """More requests from the same client would be refused as well; it may be read more slowly."""


RawCallback = Callable[[RawCall, memoryview], None]


class NativeServer(Protocol):
    """What is asked of the native transport's server; all but raw methods grpcio's has, too."""

    def add_raw_method(self, path: str, callback: RawCallback) -> None: ...
    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None: ...
    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None: ...
    def add_insecure_port(self, address: str) -> int: ...
    async def start(self) -> None: ...
    async def stop(self, grace: float | None) -> None: ...


GrpcServer = NativeServer | grpc.aio.Server


def has_native() -> bool:
    """Whether the native transport was built, and finds its library."""
    try:
        import yais.transport  # noqa: F401
    except ImportError:
        return False
    return True


def default_transport() -> TransportName:
    return "native" if has_native() else "grpcio"


def create_server(name: TransportName, max_message_size: int, shares_port: bool = False) -> GrpcServer:
    """A server that takes requests of up to `max_message_size` bytes.

    Unless it `shares_port`, a port that another server has is an error, and does not silently share its clients.
    """
    options = [
        ("grpc.max_receive_message_length", max_message_size),
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.so_reuseport", int(shares_port)),
    ]
    if name == "grpcio":
        return grpc.aio.server(options=options)
    from yais import transport

    held = max(_HELD, _HELD_MESSAGES * max_message_size)
    return transport.server(
        options=[*options, ("grpc.max_concurrent_streams", _MAX_STREAMS), ("yais.max_held_bytes", held)]
    )


def drop_log_of_leaving_callers() -> None:
    """Leaves out of grpcio's log, for the whole process, what it says with a traceback whenever a caller has gone."""
    # Several servers of one process add the same filter, which is kept once.
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


class Registration:
    """Takes a service from generated code in place of `server`, and hands it on in a cheaper and kinder way.

    Generated code registers each method twice. For one that is registered as such, grpc.aio keeps a task which waits
    for its next call, and puts the tasks of all methods into one `asyncio.wait` whenever any call comes: 24 of them.
    Its generic handlers know the same methods, and need a single task. Those made here give a request that cannot be
    parsed to the servicer as `UNREADABLE`, where transports would answer with the name of a Python class.

    Methods in `raw` are served by their callbacks, which see the bytes, and not by the servicer. Those that the
    servicer leaves out are UNIMPLEMENTED in a sentence and counted in `refusals`: generated code raises an exception in
    them, which transports log as an error, and name to the caller.
    """

    def __init__(
        self,
        server: GrpcServer,
        raw: Mapping[str, RawCallback] | None = None,
        refusals: RefusalLog | None = None,
    ) -> None:
        self._server = server
        self._raw = raw or {}
        self._refusals = refusals

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Does nothing: the same methods come through the other call."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        lenient = {
            name: handler._replace(request_deserializer=_lenient(handler.request_deserializer))
            if _is_served(handler)
            else _unserved(name, handler, self._refusals)
            for name, handler in handlers.items()
        }
        # Generated code gives names of methods; transports know them by their whole paths.
        paths = {name: f"/{service}/{name}" for name in handlers}
        raw = {name: self._raw[path] for name, path in paths.items() if path in self._raw}
        if isinstance(self._server, grpc.aio.Server):
            # grpcio has no calls without a coroutine, so that raw methods get one each.
            lenient |= {name: _awaited(callback) for name, callback in raw.items()}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, lenient),))
        else:
            self._server.add_registered_method_handlers(service, lenient)
            for name, callback in raw.items():
                self._server.add_raw_method(paths[name], callback)


def _is_served(handler: Any) -> bool:
    # Of all methods, only those of generated base classes are plain functions.
    method = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def _unserved(name: str, handler: Any, refusals: RefusalLog | None) -> Any:
    """A handler of the same kind that refuses every call of the method `name`, whatever it brings."""

    async def refuse(request: object, context: CallContext) -> None:
        if refusals is not None:
            refusals.add(f"{name} (not implemented)")
        await abort_with(context, UnsupportedError(f"This server does not implement {name}"))

    kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    return handler._replace(request_deserializer=None, **{kind: refuse})


def _awaited(callback: RawCallback) -> Any:
    """A handler for grpcio which waits for what becomes of a call to `callback`."""

    async def serve(message: bytes, context: CallContext) -> bytes:
        call = AwaitedCall(deadline_after(context.time_remaining()))
        callback(call, memoryview(message))
        outcome = await call.wait()
        if isinstance(outcome, tuple):
            await abort(context, *outcome)
        return outcome

    return grpc.unary_unary_rpc_method_handler(serve)


def deadline_after(remaining: float | None) -> float:
    """The deadline on the monotonic clock, given the seconds that are left; infinite for none."""
    if remaining is None or remaining > _FOREVER_S or math.isnan(remaining):
        return math.inf
    return monotonic() + remaining


def _lenient(deserializer: Deserializer) -> Deserializer:
    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return UNREADABLE

    return deserialize


class AwaitedCall:
    """A `RawCall` for a coroutine of grpcio's, which waits for what becomes of it."""

    def __init__(self, deadline: float) -> None:
        self.listener: CallListener | None = None
        self.deadline = deadline
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        # A cancelled task cancels the future that it waits for at once, but hears of it only in the next tick.
        return self._outcome.done()

    def respond(self, *buffers: bytes) -> None:
        if not self.is_over:
            self._outcome.set_result(b"".join(buffers))

    def fail(self, code: grpc.StatusCode, details: str = "") -> None:
        if not self.is_over:
            self._outcome.set_result((code, details))

    def hold_back(self) -> None:
        """Does nothing: grpcio reads as it likes."""

    async def wait(self) -> Outcome:
        """The response, or status and text; the listener hears of the end, also when this is cancelled."""
        try:
            return await self._outcome
        finally:
            if self.listener is not None:
                self.listener.closed()

"""Transports that siege sends on: native or grpcio's, each as a callable for one unary method."""

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

import grpc

from yais.clients.channel import channel_options
from yais.clients.stats.outcomes import OK, STATUS_NUMBERS

TransportName = Literal["native", "grpcio"]


class UnaryCall(Protocol):
    """A request that was sent; once it is over, `status`, gRPC's number, and `details` say what became of it.

    `message` is the answer, if there is one, and can be read until the callback returns.
    """

    @property
    def status(self) -> int: ...

    @property
    def details(self) -> str: ...

    @property
    def message(self) -> bytes | memoryview | None: ...

    @property
    def was_refused(self) -> bool:
        """Whether it failed and the server certainly did nothing about it, so that gRPC allows to send it again."""

    def cancel(self, status: int, details: str, /) -> None:
        """Gives it up, and has it end so; one that is over stays as it is."""


Done = Callable[[UnaryCall], None]


class UnaryCallable(Protocol):
    """Sends `request`, and calls `done(call)` once the call is over, never before this returns; `timeout` in seconds.

    Raises ConnectionError when there is no connection and it does not wait for one.
    """

    def __call__(self, request: bytes, done: Done, timeout: float, /) -> UnaryCall: ...


class CountingCallable(UnaryCallable, Protocol):
    """Knows how many requests were sent on it."""

    sent: int


def has_native() -> bool:
    """Whether the native transport was built, and finds its library."""
    try:
        import yais.transport  # noqa: F401
    except ImportError:
        return False
    return True


def open_callable(
    transport: TransportName, target: str, method: str, authority: str | None = None
) -> tuple[grpc.aio.Channel, CountingCallable]:
    """A callable, and the channel that makes its connection and keeps it; `authority` is how calls name the server."""
    named = {} if authority is None else {"grpc.default_authority": authority}
    if transport == "native":
        # Imported here, because it may not have been built.
        from yais.transport import insecure_channel

        native = insecure_channel(target, channel_options(named))
        return native, RawCallable(native.raw_unary(method), TaskCallable(native.unary_unary(method)))
    # grpcio would otherwise let channels to one target share a connection.
    options = channel_options({**named, "grpc.use_local_subchannel_pool": 1})
    channel = grpc.aio.insecure_channel(target, options)
    return channel, TaskCallable(channel.unary_unary(method))


class RawCallable:
    """A callable whose calls cost neither a task nor a future.

    It needs a connection; between two of them, as when the server sends its clients elsewhere, `waiting` takes its
    calls: they wait and fail as those of every gRPC client do.
    """

    def __init__(self, raw: UnaryCallable, waiting: UnaryCallable) -> None:
        self.sent = 0
        self._raw = raw
        self._waiting = waiting

    def __call__(self, request: bytes, done: Done, timeout: float, /) -> UnaryCall:
        self.sent += 1
        try:
            return self._raw(request, done, timeout)
        except ConnectionError:
            return self._waiting(request, done, timeout)


class TaskCallable:
    """A callable whose calls cost a task each, on the method of any channel that has grpcio's interface."""

    def __init__(self, method: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]") -> None:
        self.sent = 0
        self._method = method

    def __call__(self, request: bytes, done: Done, timeout: float, /) -> UnaryCall:
        self.sent += 1
        return _TaskCall(self._method(request, timeout=timeout), done)


class _TaskCall:
    # The channel itself sends it again.
    was_refused = False

    def __init__(self, call: "grpc.aio.UnaryUnaryCall[bytes, bytes]", done: Done) -> None:
        # What a cancelled task leaves behind, unless `cancel` has said something else.
        self.status, self.details = STATUS_NUMBERS[grpc.StatusCode.CANCELLED], "the channel was closed"
        self.message: bytes | None = None
        self._call = call
        self._done = done
        self._task = asyncio.create_task(self._follow())

    def cancel(self, status: int, details: str, /) -> None:
        # False for one that is over, whose status stands.
        if self._call.cancel():
            self.status, self.details = status, details

    async def _follow(self) -> None:
        try:
            self.message = await self._call
        except asyncio.CancelledError:
            pass
        except grpc.aio.AioRpcError as error:
            self.status, self.details = STATUS_NUMBERS[error.code()], error.details() or ""
        except Exception as error:
            # Whatever else the channel raises, the call is over and the run goes on.
            self.status, self.details = STATUS_NUMBERS[grpc.StatusCode.UNKNOWN], repr(error)
        else:
            self.status, self.details = OK, ""
        self._done(self)

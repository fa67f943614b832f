"""What siege sends on. A line is one connection to the server and the method that is called on it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import grpc

from yais.clients import channels

TransportName = Literal["native", "grpcio"]


class Call(Protocol):
    """A request that was sent; `status` (gRPC's number) and `details` tell what became of it once it is over."""

    @property
    def status(self) -> int: ...

    @property
    def details(self) -> str: ...

    def cancel(self, status: int, details: str, /) -> None:
        """Gives it up, and has it end so; one that is over stays as it is."""


class Line(Protocol):
    """Sends `request` and calls `done(call)` once the call is over, never before this returns; `timeout` in seconds.

    Raises `ConnectionError` while there is no connection, which it then begins to make.
    """

    def __call__(self, request: bytes, done: Callable[[Call], None], timeout: float, /) -> Call: ...


class Method(Protocol):
    """A unary method of a channel, without serialisers: bytes in, bytes out."""

    def __call__(self, request: bytes, *, timeout: float) -> Awaitable[bytes]: ...


def has_native() -> bool:
    """Whether the native transport was built, and finds its library."""
    try:
        import yais.transport  # noqa: F401
    except ImportError:
        return False
    return True


def open_line(transport: TransportName, target: str, method: str) -> tuple[grpc.aio.Channel, Line]:
    """A line, and the channel that keeps its connection; it has none before `channel_ready`."""
    if transport == "grpcio":
        # gRPC would otherwise let channels to one target share a connection.
        options = channels.options({"grpc.use_local_subchannel_pool": 1})
        channel = grpc.aio.insecure_channel(target, options)
        return channel, grpcio_line(channel.unary_unary(method))
    from yais.transport import insecure_channel

    native = insecure_channel(target, channels.options())
    # Costs neither a task nor a future.
    return native, native.raw_unary(method)


def grpcio_line(method: Method) -> Line:
    """A line on `method`, at the cost of a task for each call."""

    def send(request: bytes, done: Callable[[Call], None], timeout: float, /) -> Call:
        return _Task(_outcome(method, request, timeout), done)

    return send


async def _outcome(method: Method, request: bytes, timeout: float) -> tuple[int, str]:  # noqa: ASYNC109
    try:
        await method(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return error.code().value[0], error.details() or ""
    except Exception as error:
        # Whatever else the channel raises is an outcome too.
        return grpc.StatusCode.UNKNOWN.value[0], repr(error)
    return grpc.StatusCode.OK.value[0], ""

"""Calls of a channel, with the interfaces of `grpc.aio`'s.

A call begins at once where its channel is connected, and otherwise as soon as it is. It is the listener of its stream,
whose end settles the outcome.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import grpc

from yais.transport.client_call import ClientCall
from yais.transport.compression import Codec
from yais.transport.metadata import Field, decode_metadata, encode_timeout
from yais.transport.notification import Condition, run_callback
from yais.transport.pick_first import PickFirstBalancer
from yais.transport.protocols import ClientProtocol
from yais.transport.status import code as status_code

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]

_OK = grpc.StatusCode.OK
_CANCELLED = "Locally cancelled by application!"


class Listener(Protocol):
    """`changed` is called when something has come or can be sent, `closed` when the stream is gone."""

    def changed(self) -> None: ...
    def closed(self) -> None: ...


class CallOptions:
    """Headers, deadline and codecs of a call. `fields` lack the timeout; `deadline` is of `time.monotonic`."""

    __slots__ = ("codec", "deadline", "deserialize", "fields", "serialize", "wait_for_ready")

    def __init__(
        self,
        fields: list[Field],
        timeout: float | None,
        wait_for_ready: bool,
        codec: Codec,
        serialize: Serializer | None,
        deserialize: Deserializer | None,
    ) -> None:
        self.fields = fields
        self.deadline = None if timeout is None else monotonic() + timeout
        self.wait_for_ready = wait_for_ready
        self.codec = codec
        self.serialize = serialize
        self.deserialize = deserialize

    def headers(self) -> list[Field]:
        """`fields`, and what is left of the timeout by now: a call may have waited for a connection."""
        if self.deadline is None:
            return self.fields
        return [*self.fields, (b"grpc-timeout", encode_timeout(self.deadline - monotonic()))]


class Call(grpc.aio.Call):
    """The base of all four kinds of calls."""

    def __init__(self, balancer: PickFirstBalancer, options: CallOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._balancer = balancer
        self._options = options
        self._stream: ClientCall | None = None
        self._condition = Condition()
        self._status: grpc.StatusCode | None = None
        self._details = ""
        self._was_given_up = False
        self._done_callbacks: list[Callable[[Any], None]] = []
        self._starting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if options.deadline is not None:
            # `loop.time()` is `time.monotonic()`, with asyncio and uvloop.
            self._timer = self._loop.call_at(options.deadline, self._expire)

    def __repr__(self) -> str:
        status = "under way" if self._status is None else f"{self._status}, details={self._details!r}"
        return f"<{type(self).__name__} {status}>"

    def cancel(self) -> bool:
        return self._end(grpc.StatusCode.CANCELLED, _CANCELLED)

    def cancelled(self) -> bool:
        return self._status is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._status is not None

    def time_remaining(self) -> float | None:
        deadline = self._options.deadline
        return None if deadline is None else max(0.0, deadline - monotonic())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.done():
            run_callback(self._loop, callback, self)
        else:
            self._done_callbacks.append(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        await self._condition.wait_for(lambda: self.done() or (self._stream is not None and self._stream.has_headers))
        return decode_metadata((self._stream and self._stream.initial) or ())

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        await self._wait_until_done()
        return self._trailing()

    async def code(self) -> grpc.StatusCode:
        await self._wait_until_done()
        assert self._status is not None
        return self._status

    async def details(self) -> str:
        await self._wait_until_done()
        return self._details

    async def wait_for_connection(self) -> None:
        """Waits until the call is on a connection. Raises `AioRpcError` when it ended without one."""
        await self._condition.wait_for(lambda: self.done() or self._stream is not None)
        if self._status not in (None, _OK):
            raise self._error()

    async def debug_error_string(self) -> str:
        await self._wait_until_done()
        return self._debug()

    def listener(self) -> Listener:
        """The listener that the stream is given."""
        return self

    def changed(self) -> None:
        self._condition.notify_all()

    def closed(self) -> None:
        """The stream is gone, and its status is settled."""
        assert self._stream is not None
        status = status_code(self._stream.status)
        self._settle(status, "" if status is _OK else self._stream.details)

    def _begin(self) -> None:
        """Opens the stream, at once if the channel is connected. Raises `UsageError` when it is closed."""
        if self._balancer.is_closed:
            self._settle(grpc.StatusCode.CANCELLED, _CANCELLED)
            raise grpc.aio.UsageError("Channel is closed.")
        if self._options.deadline is not None and self._options.deadline <= monotonic():
            self._expire()
            return
        if self._balancer.connection is None or not self._try_open(self._balancer.connection):
            self._starting = self._loop.create_task(self._begin_when_ready())

    async def _begin_when_ready(self) -> None:
        try:
            while not self._try_open(await self._balancer.ready(self._options.wait_for_ready)):
                continue
        except ConnectionError as error:
            if self._balancer.is_closed:
                self.cancel()
            self._end(grpc.StatusCode.UNAVAILABLE, str(error))

    def _try_open(self, connection: ClientProtocol) -> bool:
        """False when the connection takes no calls any more; by then the balancer has dropped it."""
        try:
            self._open(connection)
        except ConnectionError:
            return False
        return True

    def _open(self, connection: ClientProtocol) -> None:
        raise NotImplementedError

    def _end(self, status: grpc.StatusCode, details: str) -> bool:
        """Gives the call up, unless it is over."""
        if self.done():
            return False
        self._was_given_up = True
        if self._stream is not None:
            self._stream.cancel(status.value[0], details)
        if self._starting is not None:
            self._starting.cancel()
        self._settle(status, details)
        return True

    def _expire(self) -> None:
        self._end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _settle(self, status: grpc.StatusCode, details: str) -> None:
        """The outcome is known; what comes after it does not change it."""
        if self.done():
            return
        self._status, self._details = status, details
        if self._timer is not None:
            self._timer.cancel()
        self._condition.notify_all()
        callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            run_callback(self._loop, callback, self)

    async def _wait_until_done(self) -> None:
        await self._wait_for(self.done)

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition or the end. As in grpc.aio, cancelling the task that waits cancels the call."""
        try:
            await self._condition.wait_for(lambda: self.done() or condition())
        except asyncio.CancelledError:
            self.cancel()
            raise

    def _trailing(self) -> grpc.aio.Metadata:
        return decode_metadata((self._stream and self._stream.trailing) or ())

    def _debug(self) -> str:
        return "" if self._status in (None, _OK) else f"{self._status}: {self._details}"

    def _error(self) -> BaseException:
        """What a failed call raises; who cancelled it gets asyncio's own error."""
        assert self._status is not None
        if self._status is grpc.StatusCode.CANCELLED and self._details == _CANCELLED:
            return asyncio.CancelledError()
        initial = decode_metadata((self._stream and self._stream.initial) or ())
        return grpc.aio.AioRpcError(self._status, initial, self._trailing(), self._details, self._debug())

    def _encode(self, message: Any) -> tuple[bytes, bool]:
        """A message's bytes, and whether they are compressed."""
        data = message if self._options.serialize is None else self._options.serialize(message)
        return self._options.codec.compress_if_smaller(data)

    def _decode(self, data: bytes) -> Any:
        try:
            return data if self._options.deserialize is None else self._options.deserialize(data)
        except Exception as error:
            self._status = grpc.StatusCode.INTERNAL
            self._details = f"Exception deserializing response: {error}"
            raise self._error() from error

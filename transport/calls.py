"""The calls of a channel, with the interfaces of `grpc.aio`'s.

A call begins at once where its channel is connected, and otherwise as soon as it is. Its stream tells it of each
change, and of its end, from which on the outcome is known.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import grpc

from yais.transport.changes import Changes, tell
from yais.transport.client_call import ClientCall
from yais.transport.compression import Codec
from yais.transport.link import Link
from yais.transport.metadata import Field, decode_metadata, encode_timeout
from yais.transport.protocols import ClientProtocol
from yais.transport.status import code as status_code

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]

_OK = grpc.StatusCode.OK
_CANCELLED = "Locally cancelled by application!"


class Listener(Protocol):
    """Who hears that something has come or can be sent, and that the stream is gone."""

    def changed(self) -> None: ...
    def closed(self) -> None: ...


class Request:
    """What a call is made of. `fields` are its headers apart from the timeout, `deadline` is of `time.monotonic`."""

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
        """The timeout as it is by now."""
        if self.deadline is None:
            return self.fields
        return [*self.fields, (b"grpc-timeout", encode_timeout(self.deadline - monotonic()))]


class Call(grpc.aio.Call):
    """What all four kinds of calls have in common; the listener of its `ClientCall`."""

    def __init__(self, link: Link, request: Request) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._request = request
        self._stream: ClientCall | None = None
        self._changes = Changes()
        self._status: grpc.StatusCode | None = None
        self._details = ""
        self._was_given_up = False
        self._done_callbacks: list[Callable[[Any], None]] = []
        self._starting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if request.deadline is not None:
            self._timer = self._loop.call_at(request.deadline, self._expire)

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
        deadline = self._request.deadline
        return None if deadline is None else max(0.0, deadline - monotonic())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.done():
            tell(self._loop, callback, self)
        else:
            self._done_callbacks.append(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        await self._changes.until(lambda: self.done() or (self._stream is not None and self._stream.has_headers))
        return decode_metadata((self._stream and self._stream.initial) or ())

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        await self._ended()
        return self._trailing()

    async def code(self) -> grpc.StatusCode:
        await self._ended()
        assert self._status is not None
        return self._status

    async def details(self) -> str:
        await self._ended()
        return self._details

    async def wait_for_connection(self) -> None:
        """Waits until the call is on a connection. Raises `AioRpcError` when it ended without one."""
        await self._changes.until(lambda: self.done() or self._stream is not None)
        if self._status not in (None, _OK):
            raise self._error()

    async def debug_error_string(self) -> str:
        await self._ended()
        return self._debug()

    def listener(self) -> Listener:
        """What the stream tells of its changes."""
        return self

    def changed(self) -> None:
        self._changes.changed()

    def closed(self) -> None:
        """The stream is gone, and its status is settled."""
        assert self._stream is not None
        status = status_code(self._stream.status)
        self._settle(status, "" if status is _OK else self._stream.details)

    def _begin(self) -> None:
        """Opens the stream, at once if the channel is connected. Raises `UsageError` when it is closed."""
        if self._link.is_closed:
            self._settle(grpc.StatusCode.CANCELLED, _CANCELLED)
            raise grpc.aio.UsageError("Channel is closed.")
        if self._request.deadline is not None and self._request.deadline <= monotonic():
            self._expire()
            return
        if self._link.connection is None or not self._try_open(self._link.connection):
            self._starting = self._loop.create_task(self._begin_when_ready())

    async def _begin_when_ready(self) -> None:
        try:
            while not self._try_open(await self._link.ready(self._request.wait_for_ready)):
                continue
        except ConnectionError as error:
            if self._link.is_closed:
                self.cancel()
            self._end(grpc.StatusCode.UNAVAILABLE, str(error))

    def _try_open(self, connection: ClientProtocol) -> bool:
        """False when the connection takes no calls any more, which its link knows as well by then."""
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
        self._changes.changed()
        callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            tell(self._loop, callback, self)

    async def _ended(self) -> None:
        await self._waited(self.done)

    async def _waited(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition or the end. Who is cancelled here cancels the call."""
        try:
            await self._changes.until(lambda: self.done() or condition())
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
        data = message if self._request.serialize is None else self._request.serialize(message)
        return self._request.codec.worth(data)

    def _decode(self, data: bytes) -> Any:
        try:
            return data if self._request.deserialize is None else self._request.deserialize(data)
        except Exception as error:
            self._status = grpc.StatusCode.INTERNAL
            self._details = f"Exception deserializing response: {error}"
            raise self._error() from error

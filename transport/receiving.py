"""Receiving half of a channel's calls: one message, or a stream of them."""

import weakref
from collections.abc import AsyncIterator, Generator
from typing import Any

import grpc

from yais.transport.calls import Call

_OK = grpc.StatusCode.OK


class UnaryResponse(Call):
    """A call that is awaited for its one message."""

    _is_single = True

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self._wait_until_done().__await__()
        if self._status is not _OK:
            raise self._error()
        assert self._stream is not None
        # It stays in the stream, since a call may be awaited more than once.
        message = self._stream.peek()
        assert message is not None
        return self._decode(message)


class WeakListener:
    """The listener of a call that it does not keep alive."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = weakref.ref(call)

    def changed(self) -> None:
        if (call := self._call()) is not None:
            call.changed()

    def closed(self) -> None:
        if (call := self._call()) is not None:
            call.closed()


class StreamResponse(Call):
    """A call whose messages are iterated over, or read one by one."""

    _is_iterated: bool | None = None

    def __del__(self) -> None:
        """Cancels a call whose answers nobody can read any more, or the server would go on sending them."""
        if not self.done():
            self.cancel()

    def listener(self) -> WeakListener:
        # A stream that is open refers to its listener: by this one, `__del__` of a call that is dropped still runs.
        return WeakListener(self)

    def __aiter__(self) -> AsyncIterator[Any]:
        self._choose_style(is_iterated=True)
        return self._messages()

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF` after the last. Raises `AioRpcError` when the call has failed."""
        self._choose_style(is_iterated=False)
        return await self._read()

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self._read()) is not grpc.aio.EOF:
            yield message

    async def _read(self) -> Any:
        # Messages that came before a failure are given out first; after `cancel`, none is.
        await self._wait_for(lambda: self._stream is not None and self._stream.has_message)
        if self._stream is not None and not self._was_given_up and (data := self._stream.take()) is not None:
            return self._decode(data)
        if self._status is not _OK:
            raise self._error()
        return grpc.aio.EOF

    def _choose_style(self, is_iterated: bool) -> None:
        if self._is_iterated is None:
            self._is_iterated = is_iterated
        elif self._is_iterated is not is_iterated:
            raise grpc.aio.UsageError("A call is either iterated over or read, not both")

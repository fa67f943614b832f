"""The receiving half of a channel's calls: one message, or a stream of them."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import grpc

from yais.transport.calls import Call

_OK = grpc.StatusCode.OK


class UnaryResponse(Call):
    """A call that is awaited for its one message."""

    _is_single = True

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self._ended().__await__()
        if self._status is not _OK:
            raise self._error()
        assert self._stream is not None
        return self._decode(self._stream.peek())


class StreamResponse(Call):
    """A call whose messages are iterated over, or read one by one."""

    _is_iterated: bool | None = None

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
        try:
            await self._changes.until(lambda: self._stream is not None and self._stream.has_message or self.done())
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._stream is not None and self._status in (None, _OK) and (data := self._stream.take()) is not None:
            return self._decode(data)
        if self._status is not _OK:
            raise self._error()
        return grpc.aio.EOF

    def _choose_style(self, is_iterated: bool) -> None:
        if self._is_iterated is None:
            self._is_iterated = is_iterated
        elif self._is_iterated is not is_iterated:
            raise grpc.aio.UsageError("A call is either iterated over or read, not both")

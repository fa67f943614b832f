"""Sending half of a channel's calls: one message, or a stream of them."""

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import Any

import grpc

from yais.transport.calls import Call, CallOptions
from yais.transport.client_call import ClientCall
from yais.transport.errors import MessageTooLargeError
from yais.transport.pick_first import PickFirstBalancer
from yais.transport.protocols import ClientProtocol

_OK = grpc.StatusCode.OK
_FINISHED = "RPC already finished."
_HALF_CLOSED = 'RPC is half closed after calling "done_writing".'


class UnaryRequest(Call):
    """A call that sends one message, and sends it again where a server certainly did not see it."""

    _is_single = False

    def __init__(self, balancer: PickFirstBalancer, options: CallOptions, message: Any) -> None:
        super().__init__(balancer, options)
        self._message, self._is_compressed = self._encode(message)
        self._was_refused = False
        self._begin()

    def closed(self) -> None:
        assert self._stream is not None
        # gRPC's transparent retry (A6-client-retries.md): once for a call that the server's application has not seen.
        if self._stream.was_refused and not self._was_refused and not self.done():
            self._was_refused = True
            self._begin()
        else:
            super().closed()

    def _open(self, connection: ClientProtocol) -> None:
        try:
            self._stream = connection.start(
                self._options.headers(),
                self._message,
                listener=self.listener(),
                is_compressed=self._is_compressed,
                is_single=self._is_single,
            )
        except MessageTooLargeError as error:
            self._end(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))


class StreamRequest(Call):
    """A call that sends messages, of an iterator or by `write`."""

    _is_single = False

    def __init__(
        self,
        balancer: PickFirstBalancer,
        options: CallOptions,
        messages: AsyncIterable[Any] | Iterable[Any] | None,
    ) -> None:
        super().__init__(balancer, options)
        self._has_iterator = messages is not None
        self._is_half_closed = False
        self._begin()
        if messages is not None:
            self.sending: asyncio.Task[None] | None = self._loop.create_task(self._send_all(messages))
            self.add_done_callback(_stop_sending)

    async def write(self, message: Any) -> None:
        """Sends a message; waits while much is under way."""
        self._check_style(self._has_iterator, "write")
        await self._write(message)

    async def done_writing(self) -> None:
        self._check_style(self._has_iterator, "done_writing")
        await self._finish()

    def _open(self, connection: ClientProtocol) -> None:
        self._stream = connection.start(
            self._options.headers(), listener=self.listener(), is_last=False, is_single=self._is_single
        )
        self._condition.notify_all()

    async def _write(self, message: Any) -> None:
        if self.done():
            raise asyncio.InvalidStateError(_FINISHED)
        if self._is_half_closed:
            raise asyncio.InvalidStateError(_HALF_CLOSED)
        stream = await self._wait_opened()
        data, is_compressed = self._encode(message)
        try:
            stream.send(data, is_compressed=is_compressed)
        except MessageTooLargeError as error:
            self._end(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            raise self._error() from None
        if not stream.is_writable:
            await self._wait_for(lambda: stream.is_writable)
        if self.done() and self._status is not _OK:
            raise self._error()

    async def _finish(self) -> None:
        if not self.done() and not self._is_half_closed:
            self._is_half_closed = True
            (await self._wait_opened()).finish()

    async def _send_all(self, messages: AsyncIterable[Any] | Iterable[Any]) -> None:
        """Sends all that an iterator gives; one that fails cancels the call."""
        try:
            if isinstance(messages, AsyncIterable):
                async for message in messages:
                    await self._write(message)
            else:
                for message in messages:
                    await self._write(message)
            await self._finish()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has ended; whoever awaits it gets its status.
            return
        except Exception as error:
            self._loop.call_exception_handler({"message": "A request iterator failed", "exception": error})
            self.cancel()
        finally:
            # The task refers to the call: without this, both would wait for the garbage collector.
            self.sending = None

    async def _wait_opened(self) -> ClientCall:
        await self.wait_for_connection()
        if self._stream is None:
            raise self._error()
        return self._stream

    def _check_style(self, is_wrong: bool, name: str) -> None:
        if is_wrong:
            raise grpc.aio.UsageError(f"{name} cannot be called: the call was made with an iterator of requests")


# Not a method: a bound one among the callbacks of its own call would be a reference cycle.
def _stop_sending(call: StreamRequest) -> None:
    if call.sending is not None:
        call.sending.cancel()

"""Context that a method of a servicer is given beside its request, with the interface of `grpc.aio`'s."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from time import monotonic
from typing import Any, NoReturn

import grpc

from yais.transport.compression import IDENTITY, Codec, choose, codec_of
from yais.transport.errors import MessageTooLargeError
from yais.transport.metadata import Field, Metadatum, decode_metadata, encode_metadata
from yais.transport.notification import Condition, run_callback
from yais.transport.server_call import ServerCall

logger = logging.getLogger(__name__)

_OK = grpc.StatusCode.OK


class ServicerContext(grpc.aio.ServicerContext[Any, Any]):
    """`grpc.aio.ServicerContext` on a `ServerCall`, whose listener it is."""

    # Attributes of the class: most calls leave all of these as they are, and set none of their own.
    task: "asyncio.Task[None] | None" = None
    timer: asyncio.TimerHandle | None = None
    is_running = False

    _condition: Condition | None = None
    _code: grpc.StatusCode | int = _OK
    _details = ""
    _trailing: Iterable[Metadatum] = ()
    _codec: Codec = IDENTITY
    _next_is_uncompressed = False
    _has_finished = False
    _was_cancelled = False
    _done_callbacks: tuple[Callable[[Any], None], ...] = ()

    def __init__(self, call: ServerCall, handler: Any, on_over: Callable[[], None]) -> None:
        self.call = call
        self.handler = handler
        self._on_over = on_over

    async def read(self) -> Any:
        """The next request, or `grpc.aio.EOF` once the client has sent its last."""
        message = await self._take()
        return grpc.aio.EOF if message is None else self.deserialize(message)

    async def read_only(self) -> bytes:
        """The request of a unary call, not yet deserialized; ends the call unless there is exactly one."""
        message = await self._take()
        if message is None or await self._take() is not None:
            self.finish(grpc.StatusCode.UNIMPLEMENTED, "A unary call takes one message")
            raise grpc.aio.AbortError
        return message

    async def requests(self) -> AsyncIterator[Any]:
        while (request := await self.read()) is not grpc.aio.EOF:
            yield request

    async def write(self, message: Any) -> None:
        """Sends a message; waits while much is under way."""
        call = self.call
        if call.is_over:
            raise asyncio.CancelledError if self._was_cancelled else asyncio.InvalidStateError("The call has ended")
        self.send(message)
        if not call.is_writable:
            await self._wait_for(lambda: call.is_writable or call.is_over)

    async def send_initial_metadata(self, initial_metadata: Iterable[Metadatum]) -> None:
        """Raises `grpc.aio.UsageError` when headers have been sent already."""
        if self.call.has_begun:
            raise grpc.aio.UsageError("Initial metadata was sent already")
        self.call.send_headers(encode_metadata(initial_metadata) + self._encoding())

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[Metadatum] = ()
    ) -> NoReturn:
        """Ends the call with `code`, and the method with it."""
        if self._has_finished:
            raise grpc.aio.UsageError("Abort already called!")
        # An abort is never a success; grpc.aio would not answer the call at all.
        if code is _OK:
            code, details = grpc.StatusCode.UNKNOWN, ""
        self.finish(code, details or self._details, trailing_metadata or self._trailing)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def set_trailing_metadata(self, trailing_metadata: Iterable[Metadatum]) -> None:
        """Raises TypeError or ValueError, with the key in it, for what metadata cannot be."""
        # Encoded here only for its errors, which then come from the line that made the mistake.
        encode_metadata(trailing_metadata)
        self._trailing = trailing_metadata

    def invocation_metadata(self) -> grpc.aio.Metadata:
        return decode_metadata(self.call.metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Raises `RuntimeError` once headers have been sent."""
        if self.call.has_begun:
            raise RuntimeError("Compression cannot be chosen after headers have been sent")
        # compression.md forbids encodings that the client does not accept; then messages are not compressed.
        self._codec = choose(codec_of(compression), self.call.accepted_encodings)

    def disable_next_message_compression(self) -> None:
        self._next_is_uncompressed = True

    def peer(self) -> str:
        return self.call.connection.peer

    def peer_identities(self) -> Iterable[bytes] | None:
        """The names in the client's certificate: its alternative names, or else its common name."""
        names = self.auth_context()
        return names.get("x509_subject_alternative_name") or names.get("x509_common_name")

    def peer_identity_key(self) -> str | None:
        names = self.auth_context()
        keys = ("x509_subject_alternative_name", "x509_common_name")
        return next((key for key in keys if key in names), None)

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return self.call.connection.auth_context

    # grpcio's own methods return more than its stubs declare, such as None without a deadline.
    def time_remaining(self) -> float | None:  # type: ignore[override]
        """Seconds, at least 0; None without a deadline."""
        return None if self.call.deadline == float("inf") else max(0.0, self.call.deadline - monotonic())

    def trailing_metadata(self) -> Iterable[Metadatum]:  # type: ignore[override]
        return self._trailing

    def code(self) -> grpc.StatusCode | int:  # type: ignore[override]
        return self._code

    def details(self) -> str:
        return self._details

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._done_callbacks += (callback,)

    def cancelled(self) -> bool:
        return self._was_cancelled

    def done(self) -> bool:
        return self.call.is_over

    def deserialize(self, message: bytes) -> Any:
        """Raises `grpc.aio.AbortError`, with the call ended, when the bytes are no such message."""
        try:
            deserialize = self.handler.request_deserializer
            return deserialize(message) if deserialize else message
        except Exception as error:
            self.finish(grpc.StatusCode.INTERNAL, f"Exception deserializing request: {error}")
            raise grpc.aio.AbortError from error

    def serialize(self, message: Any) -> bytes:
        """Raises `grpc.aio.AbortError`, with the call ended, when it cannot be done."""
        try:
            serialize = self.handler.response_serializer
            data: bytes = serialize(message) if serialize else message
            return data
        except Exception as error:
            self.finish(grpc.StatusCode.INTERNAL, f"Failed to serialize response: {error}")
            raise grpc.aio.AbortError from error

    def send(self, message: Any) -> None:
        """Appends a message to the answer, compressed as was asked for."""
        call = self.call
        if self._codec is not IDENTITY and not call.has_begun:
            call.send_headers(self._encoding())
        data = self.serialize(message)
        if self._next_is_uncompressed:
            self._next_is_uncompressed = False
            call.send(data)
        else:
            call.send(*self._codec.compress_if_smaller(data))

    def answer(self, message: Any) -> None:
        """The one message of a unary answer, with the status that was set."""
        if self._code is _OK and not self._details and not self._trailing and self._codec is IDENTITY:
            # By far the commonest answer, in one step.
            data = self.serialize(message)
            self._has_finished = True
            self.call.respond(data)
            return
        if self._code is _OK or self._code == 0:
            self.send(message)
        self.finish(self._code, self._details, self._trailing)

    def finish(self, code: grpc.StatusCode | int, details: str, trailing: Iterable[Metadatum] = ()) -> None:
        """Ends the answer."""
        self._code, self._details, self._has_finished = code, details, True
        number = code if isinstance(code, int) else code.value[0]
        self.call.finish(number, details, encode_metadata(trailing) if trailing else None)

    def finish_as_set(self) -> None:
        """Ends a stream of answers with the status that was set."""
        self.finish(self._code, self._details, self._trailing)

    def finish_unexpectedly(self, error: BaseException) -> None:
        """The method has raised something; a status that it had set before stays."""
        if isinstance(error, grpc.aio.AbortError):
            # `abort` has ended the call.
            return
        if isinstance(error, asyncio.CancelledError):
            self.finish(grpc.StatusCode.CANCELLED, "The call was cancelled")
        elif isinstance(error, MessageTooLargeError):
            self.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        elif isinstance(error, Exception):
            # The text goes to the client as well, as with grpc.aio.
            logger.error("%s raised by the method %r", type(error).__name__, self.call.path, exc_info=error)
            code = grpc.StatusCode.UNKNOWN if self._code is _OK else self._code
            self.finish(code, f"Unexpected {type(error)}: {error}", self._trailing)
        else:
            raise error

    def expire(self) -> None:
        """The deadline has passed."""
        self.call.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        self._give_up()

    def changed(self) -> None:
        if self._condition is not None:
            self._condition.notify_all()

    def closed(self) -> None:
        """The stream is gone; where it was not answered, the client has cancelled it or left."""
        if not self.call.is_answered:
            self._was_cancelled = True
        self._give_up()
        self.changed()
        callbacks, self._done_callbacks = self._done_callbacks, ()
        for callback in callbacks:
            run_callback(self.call.connection.loop, callback, self)

    def over(self) -> None:
        """The method has returned, or will not be run."""
        # The task refers to this context, and so does the timer: without them it is freed without the collector.
        if self.task is not None:
            self.task = None
            self._on_over()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    async def _wait_for(self, predicate: Callable[[], bool]) -> None:
        if self._condition is None:
            self._condition = Condition()
        await self._condition.wait_for(predicate)

    async def _take(self) -> bytes | None:
        call = self.call
        if not call.has_message:
            await self._wait_for(lambda: call.has_message or call.is_ended or call.is_over)
        return call.take()

    def _give_up(self) -> None:
        """Stops the method, unless it has answered and only cleans up after itself."""
        if self.task is not None and not self._has_finished:
            self.task.cancel()
            # The coroutine of a task that is cancelled before its first step never runs, and never calls `over`.
            if not self.is_running:
                self.over()

    def _encoding(self) -> list[Field]:
        return [] if self._codec is IDENTITY else [(b"grpc-encoding", self._codec.name)]

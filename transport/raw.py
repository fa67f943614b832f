"""Unary calls at the lowest cost: bytes in and bytes out, with a callback instead of a task or a future."""

from collections.abc import Callable
from functools import lru_cache

from yais.transport.client_call import ClientCall
from yais.transport.link import Link
from yais.transport.metadata import Field, encode_timeout

Done = Callable[[ClientCall], None]

_DEADLINE_EXCEEDED = 4

_encode_timeout = lru_cache(256)(encode_timeout)


class RawUnary:
    """Made by `Channel.raw_unary`. The channel should be ready: nothing waits here for a connection."""

    def __init__(self, link: Link, fields: list[Field]) -> None:
        self._link = link
        self._fields = fields

    def __call__(self, message: bytes, callback: Done, timeout: float | None = None) -> ClientCall:
        """Sends `message`, any buffer, and calls `callback(call)` once the call is over: never before this returns.

        `timeout` is in seconds. Raises `ConnectionError` while there is no connection, which this then begins to make.
        """
        connection = self._link.connection
        if connection is None:
            self._link.connect()
            raise ConnectionError(self._link.failure or "The channel is not connected yet")
        if timeout is None:
            return connection.start(self._fields, message, callback=callback, is_single=True)
        fields = [*self._fields, (b"grpc-timeout", _encode_timeout(timeout))]
        call = connection.start(fields, message, callback=callback, is_single=True)
        call.timer = connection.loop.call_later(timeout, call.cancel, _DEADLINE_EXCEEDED, "Deadline Exceeded")
        return call

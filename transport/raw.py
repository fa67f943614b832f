"""Unary calls at the lowest cost: bytes in and bytes out, with a callback instead of a task or a future."""

from collections.abc import Callable

from yais.transport.client_call import ClientCall
from yais.transport.deadlines import Deadlines
from yais.transport.metadata import Field, encode_timeout
from yais.transport.pick_first import PickFirstBalancer

Done = Callable[[ClientCall], None]


class RawUnary:
    """Made by `Channel.raw_unary`. The channel should be ready: nothing waits here for a connection.

    Calls with the same `timeout` as the one before share its header fields, and a timer.
    """

    def __init__(self, balancer: PickFirstBalancer, fields: list[Field]) -> None:
        self._balancer = balancer
        self._fields = fields
        self._timeout: float | None = None
        self._timed_fields = fields
        self._deadlines: Deadlines | None = None

    def __call__(self, message: bytes, callback: Done, timeout: float | None = None) -> ClientCall:
        """Sends `message`, any buffer, and calls `callback(call)` once the call is over: never before this returns.

        `timeout` is in seconds. Raises `ConnectionError` while there is no connection, which this then begins to make.
        """
        connection = self._balancer.connection
        if connection is None:
            self._balancer.connect()
            raise ConnectionError(self._balancer.failure or "The channel is not connected yet")
        if timeout is None:
            return connection.start(self._fields, message, callback=callback, is_single=True)
        # Calls that are under way stay with the `Deadlines` of their own timeout.
        if timeout != self._timeout or self._deadlines is None:
            self._timed_fields = [*self._fields, (b"grpc-timeout", encode_timeout(timeout))]
            self._deadlines, self._timeout = Deadlines(connection.loop, timeout), timeout
        call = connection.start(self._timed_fields, message, callback=callback, is_single=True)
        self._deadlines.watch(call)
        return call

"""A client's end: the calls that it makes."""

from typing import Any

from conformance.fuzz.connection.end import Act, End, buffers_of, extra_of
from yais.transport.client_call import ClientCall
from yais.transport.protocols import ClientProtocol

_REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/f/now"),
    (b":authority", b"a"),
    (b"te", b"trailers"),
]


class ClientEnd(End):
    """Owns a `ClientConnection`, and makes calls on it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ready = 0

    def connection_ready(self, connection: ClientProtocol) -> None:
        self.is_ready += 1

    def connection_draining(self, connection: ClientProtocol, error_code: int, reason: bytes) -> None:
        assert isinstance(reason, bytes)

    def send(self, call: ClientCall, buffers: tuple[Any, ...], flag: bool = False) -> None:
        is_over = call.is_closed or call in self.ended
        call.send(*buffers, is_compressed=flag, is_last=len(buffers) == 2)
        if not is_over:
            self.note(call, buffers, flag)
        if len(buffers) == 2:
            self.ended.add(call)

    def finish(self, call: ClientCall) -> None:
        call.finish()
        self.ended.add(call)

    def start(self, connection: ClientProtocol, a: int, b: int) -> None:
        """A call in one of the ways in which they are made; a connection that takes no more says so."""
        buffers = buffers_of(a, b) if a & 64 else ()
        fields = _REQUEST + extra_of(b)
        try:
            call = connection.start(
                fields, *buffers, callback=self._done, is_last=bool(b & 4), is_single=bool(b & 8), is_compressed=False
            )
        except ConnectionError:
            return
        assert not call.is_closed, "A call is over before its start returns"
        self.calls.append(call)
        self.sent[call] = bytearray()
        self.heard[call] = []
        if buffers:
            self.note(call, buffers, False)
        if b & 4:
            self.ended.add(call)
        if b & 16:
            self.listen(call, is_echo=bool(b & 32))
        if b & 64:
            call.timer = connection.loop.call_later(a, call.cancel, 4, "Deadline Exceeded")

    def connection_actions(self) -> list[Act]:
        return [
            *super().connection_actions(),
            self.start,
            self.start,
            lambda connection, a, b: connection.drain(),
            lambda connection, a, b: connection.cancel_all(),
        ]

    def call_actions(self) -> list[Act]:
        return [
            *super().call_actions(),
            lambda call, a, b: call.cancel(),
            lambda call, a, b: call.cancel(a % 17, "because"),
            lambda call, a, b: (call.details, call.message, call.peek(), call.status, call.initial, call.trailing),
        ]

    def _done(self, call: ClientCall) -> None:
        assert call.status >= 0, "A call is over without a status"
        assert call.is_closed
        assert call not in self.over, "A call's end is told twice"
        self.over.add(call)
        assert isinstance(call.details, str)
        self.take_nested(call)

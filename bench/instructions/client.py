"""A client that sends the same bytes each time: so many calls in one write, and the next ones once all are answered.

How much arrives in one read decides what a server does, so no other client here is steady enough.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.measure import BenchError
from bench.transport.connections import Connection, idle_connection
from bench.transport.contract import body
from yais.clients.siege.chaos import h2

_INITIAL_WINDOW = 2**16 - 1
_PREFIX = len(body(b""))

# In HPACK: POST and http are in its static table. The other fields enter the dynamic one with the first call, which
# numbers them from 62 on, the latest first.
_KNOWN = b"\x83\x86"
_REPEATED = _KNOWN + bytes(0x80 | index for index in (65, 64, 63, 62))


class Client:
    """Calls `method` on a connection of its own, always with the same message."""

    def __init__(self, connection: Connection, method: str, message: bytes) -> None:
        self._connection = connection
        self._headers = _fields(method)
        self._body = body(message)
        self._stream = 1
        # The server may send all that it ever will.
        connection.socket.sendall(h2.window_update(0, h2.LARGEST_WINDOW - _INITIAL_WINDOW))

    def load(self, calls: int, window: int) -> bytes:
        """Makes so many calls, `window` at a time; returns their reply, which is the same for all."""
        replies = {reply for _ in range(calls // window) for reply in self._exchange(window)}
        if len(replies) != 1:
            raise BenchError(f"the same call has had {len(replies)} different answers")
        return replies.pop()

    def _exchange(self, window: int) -> list[bytes]:
        streams = range(self._stream, self._stream + 2 * window, 2)
        self._stream = streams.stop
        self._connection.socket.sendall(b"".join(self._call(stream) for stream in streams))
        replies = dict.fromkeys(streams, b"")
        waiting = window
        while waiting:
            head, payload = self._next_frame()
            if head.type == h2.DATA:
                replies[head.stream] += payload
            waiting -= head.flags & h2.END_STREAM if head.type in (h2.DATA, h2.HEADERS) else 0
        return [reply[_PREFIX:] for reply in replies.values()]

    def _next_frame(self) -> tuple[h2.FrameHeader, bytes]:
        head, payload = next(self._connection.frames, (None, b""))
        if head is None:
            raise BenchError("the server has closed the connection")
        if head.type not in (h2.DATA, h2.HEADERS, h2.WINDOW_UPDATE):
            raise BenchError(f"the server has sent a frame of type {head.type}")
        return head, payload

    def _call(self, stream: int) -> bytes:
        headers, self._headers = self._headers, _REPEATED
        return h2.frame(h2.HEADERS, h2.END_HEADERS, stream, headers) + h2.data(stream, self._body)


@contextmanager
def connected(port: int, method: str, message: bytes) -> Iterator[Client]:
    connection = idle_connection(port)
    with connection.socket:
        yield Client(connection, method, message)


def _fields(method: str) -> bytes:
    """The fields of the first call: names by their number in the static table, but for `te`, which has none."""
    path, authority, content_type = b"\x44", b"\x41", b"\x5f"
    te = b"\x40" + _text("te")
    return b"".join(
        (
            _KNOWN,
            path + _text(method),
            authority + _text("localhost"),
            te + _text("trailers"),
            content_type + _text("application/grpc"),
        )
    )


def _text(value: str) -> bytes:
    """Not shortened, and less than 127 bytes."""
    return bytes([len(value)]) + value.encode()

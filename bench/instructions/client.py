"""A client that sends the same bytes each time: so many calls in one write, and the next ones once all are answered.

How much arrives in one read decides what a server does, so no other client here is steady enough.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from bench.measure import BenchError
from bench.transport.contract import body
from bench.transport.h2 import DATA, END_HEADERS, END_STREAM, HEADERS, WINDOW_UPDATE, Connection, frame, idle_connection

_LARGEST_WINDOW, _USUAL_WINDOW = 2**31 - 1, 2**16 - 1
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
        room = struct.pack(">L", _LARGEST_WINDOW - _USUAL_WINDOW)
        connection.socket.sendall(frame(WINDOW_UPDATE, content=room))

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
            kind, flags, stream, content = next(self._connection.frames, (None, 0, 0, b""))
            if kind == DATA:
                replies[stream] += content
            elif kind not in (HEADERS, WINDOW_UPDATE):
                raise BenchError(f"the server has {'closed' if kind is None else 'another frame on'} the connection")
            waiting -= flags & END_STREAM if kind in (DATA, HEADERS) else 0
        return [reply[_PREFIX:] for reply in replies.values()]

    def _call(self, stream: int) -> bytes:
        headers, self._headers = self._headers, _REPEATED
        return frame(HEADERS, END_HEADERS, stream, headers) + frame(DATA, END_STREAM, stream, self._body)


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

"""Connections that are used frame by frame: idle ones, and those of a client that always sends the same bytes."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.measure import BenchError
from bench.transport.contract import body
from yais.clients.siege.chaos import h2

_TIMEOUT_S = 10

# Every HTTP/2 connection begins with it.
_INITIAL_WINDOW = 2**16 - 1
_PREFIX = len(body(b""))

# In HPACK: POST and http are in its static table. The other fields enter the dynamic one with the first call, which
# numbers them from 62 on, the latest first.
_KNOWN = b"\x83\x86"
_REPEATED = _KNOWN + bytes(0x80 | index for index in (65, 64, 63, 62))


class FrameConnection(NamedTuple):
    """An open connection; what the server's settings said, by their identifiers; and the frames that follow."""

    socket: socket.socket
    settings: dict[int, int]
    frames: Iterator[tuple[h2.FrameHeader, bytes]]


def idle_connection(port: int) -> FrameConnection:
    """A connection on which both sides have sent their settings and acknowledged the other's."""
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    connection.sendall(h2.PREFACE + h2.settings())
    settings, due = {}, {"settings", "acknowledgement"}
    received = _receive(connection)
    for head, payload in received:
        if head.type == h2.SETTINGS and head.flags & h2.ACK:
            due.discard("acknowledgement")
        elif head.type == h2.SETTINGS:
            settings = dict(struct.iter_unpack(">HL", payload))
            connection.sendall(h2.frame(h2.SETTINGS, h2.ACK))
            due.discard("settings")
        if not due:
            return FrameConnection(connection, settings, received)
    raise BenchError(f"a new connection was closed before its {' and '.join(sorted(due))}")


def _receive(connection: socket.socket) -> Iterator[tuple[h2.FrameHeader, bytes]]:
    """The head and the payload of each frame, until the server closes the connection."""
    with connection.makefile("rb") as file:
        while head_bytes := file.read(h2.HEAD_BYTES):
            head = h2.frame_header(head_bytes)
            yield head, file.read(head.length)


class SteadyClient:
    """Calls `method` on a connection of its own, always with the same message."""

    def __init__(self, connection: FrameConnection, method: str, message: bytes) -> None:
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
        # A client's streams have odd numbers.
        streams = range(self._stream, self._stream + 2 * window, 2)
        self._stream = streams.stop
        self._connection.socket.sendall(b"".join(self._call(stream) for stream in streams))
        replies = dict.fromkeys(streams, b"")
        waiting = window
        while waiting:
            head, payload = self._next_frame()
            if head.type == h2.DATA:
                replies[head.stream] += payload
            # The flag is 1, and the stream one fewer to wait for.
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
def connected(port: int, method: str, message: bytes) -> Iterator[SteadyClient]:
    connection = idle_connection(port)
    with connection.socket:
        yield SteadyClient(connection, method, message)


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

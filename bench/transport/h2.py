"""Just enough of HTTP/2 to open a connection and leave it idle."""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from bench.measure import BenchError

MAX_CONCURRENT_STREAMS = 3

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = 4
_ACK = 1
_TIMEOUT_S = 10


class Connection(NamedTuple):
    """An open connection, and what the server's settings said, by their identifiers."""

    socket: socket.socket
    settings: dict[int, int]


def idle_connection(port: int) -> Connection:
    """A connection on which both sides have sent their settings and acknowledged the other's."""
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    connection.sendall(_PREFACE + _frame(_SETTINGS, 0))
    settings, due = {}, {"settings", "acknowledgement"}
    for kind, flags, content in _frames(connection):
        if kind == _SETTINGS and flags & _ACK:
            due.discard("acknowledgement")
        elif kind == _SETTINGS:
            settings = dict(struct.iter_unpack(">HL", content))
            connection.sendall(_frame(_SETTINGS, _ACK))
            due.discard("settings")
        if not due:
            return Connection(connection, settings)
    raise BenchError(f"a new connection was closed before its {' and '.join(sorted(due))}")


def _frame(kind: int, flags: int) -> bytes:
    """A frame without content, on stream 0."""
    return struct.pack(">3xBBL", kind, flags, 0)


def _frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """The type, the flags and the content of each frame that comes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        while len(received) >= 9 and len(received) >= 9 + (length := int.from_bytes(received[:3], "big")):
            yield received[3], received[4], received[9 : 9 + length]
            received = received[9 + length :]

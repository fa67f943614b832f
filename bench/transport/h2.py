"""Just enough of HTTP/2 to open a connection, be it left idle or used frame by frame."""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from bench.measure import BenchError

DATA, HEADERS, WINDOW_UPDATE = 0, 1, 8
END_STREAM, END_HEADERS = 1, 4
MAX_CONCURRENT_STREAMS = 3

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = 4
_ACK = 1
_TIMEOUT_S = 10


class Frame(NamedTuple):
    """What has been received on `stream`, which is 0 for what concerns the connection."""

    kind: int
    flags: int
    stream: int
    content: bytes


class Connection(NamedTuple):
    """An open connection; what the server's settings said, by their identifiers; and the frames that follow."""

    socket: socket.socket
    settings: dict[int, int]
    frames: Iterator[Frame]


def idle_connection(port: int) -> Connection:
    """A connection on which both sides have sent their settings and acknowledged the other's."""
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    connection.sendall(_PREFACE + frame(_SETTINGS))
    settings, due = {}, {"settings", "acknowledgement"}
    frames = _frames(connection)
    for kind, flags, _, content in frames:
        if kind == _SETTINGS and flags & _ACK:
            due.discard("acknowledgement")
        elif kind == _SETTINGS:
            settings = dict(struct.iter_unpack(">HL", content))
            connection.sendall(frame(_SETTINGS, _ACK))
            due.discard("settings")
        if not due:
            return Connection(connection, settings, frames)
    raise BenchError(f"a new connection was closed before its {' and '.join(sorted(due))}")


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + struct.pack(">BBL", kind, flags, stream) + content


def _frames(connection: socket.socket) -> Iterator[Frame]:
    """Each frame that comes, until the server closes the connection."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        while len(received) >= 9 and len(received) >= 9 + (length := int.from_bytes(received[:3], "big")):
            kind, flags, stream = struct.unpack_from(">BBL", received, 3)
            yield Frame(kind, flags, stream, received[9 : 9 + length])
            received = received[9 + length :]

"""Connections to a server that are used frame by frame, or left idle."""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from bench.measure import BenchError
from yais.clients.siege.chaos import frames

_TIMEOUT_S = 10


class Connection(NamedTuple):
    """An open connection; what the server's settings said, by their identifiers; and the frames that follow."""

    socket: socket.socket
    settings: dict[int, int]
    frames: Iterator[tuple[frames.Head, bytes]]


def idle_connection(port: int) -> Connection:
    """A connection on which both sides have sent their settings and acknowledged the other's."""
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    connection.sendall(frames.PREFACE + frames.settings())
    settings, due = {}, {"settings", "acknowledgement"}
    received = _receive(connection)
    for head, payload in received:
        if head.kind == frames.SETTINGS and head.flags & frames.ACK:
            due.discard("acknowledgement")
        elif head.kind == frames.SETTINGS:
            settings = dict(struct.iter_unpack(">HL", payload))
            connection.sendall(frames.frame(frames.SETTINGS, frames.ACK))
            due.discard("settings")
        if not due:
            return Connection(connection, settings, received)
    raise BenchError(f"a new connection was closed before its {' and '.join(sorted(due))}")


def _receive(connection: socket.socket) -> Iterator[tuple[frames.Head, bytes]]:
    """The head and the payload of each frame, until the server closes the connection."""
    with connection.makefile("rb") as file:
        while head_bytes := file.read(frames.HEAD_BYTES):
            head = frames.head(head_bytes)
            yield head, file.read(head.length)

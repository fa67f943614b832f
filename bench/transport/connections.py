"""Connections to a server that are opened and left idle."""

import socket
import struct
from typing import NamedTuple

from bench.measure import BenchError
from yais.clients.siege.chaos import frames

_TIMEOUT_S = 10


class Connection(NamedTuple):
    """An open connection, and what the server's settings said, by their identifiers."""

    socket: socket.socket
    settings: dict[int, int]


def idle_connection(port: int) -> Connection:
    """A connection on which both sides have sent their settings and acknowledged the other's."""
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    connection.sendall(frames.PREFACE + frames.settings())
    settings, due = {}, {"settings", "acknowledgement"}
    with connection.makefile("rb") as file:
        while head_bytes := file.read(frames.HEAD_BYTES):
            head = frames.head(head_bytes)
            payload = file.read(head.length)
            if head.kind == frames.SETTINGS and head.flags & frames.ACK:
                due.discard("acknowledgement")
            elif head.kind == frames.SETTINGS:
                settings = dict(struct.iter_unpack(">HL", payload))
                connection.sendall(frames.frame(frames.SETTINGS, frames.ACK))
                due.discard("settings")
            if not due:
                return Connection(connection, settings)
    raise BenchError(f"a new connection was closed before its {' and '.join(sorted(due))}")

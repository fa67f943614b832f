"""Connections to a server that are used frame by frame, or left idle."""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from bench.measure import BenchError
from yais.clients.siege.chaos import h2

_TIMEOUT_S = 10


class Connection(NamedTuple):
    """An open connection; what the server's settings said, by their identifiers; and the frames that follow."""

    socket: socket.socket
    settings: dict[int, int]
    frames: Iterator[tuple[h2.FrameHeader, bytes]]


def idle_connection(port: int) -> Connection:
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
            return Connection(connection, settings, received)
    raise BenchError(f"a new connection was closed before its {' and '.join(sorted(due))}")


def _receive(connection: socket.socket) -> Iterator[tuple[h2.FrameHeader, bytes]]:
    """The head and the payload of each frame, until the server closes the connection."""
    with connection.makefile("rb") as file:
        while head_bytes := file.read(h2.HEAD_BYTES):
            head = h2.frame_header(head_bytes)
            yield head, file.read(head.length)

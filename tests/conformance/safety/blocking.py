"""A client of one blocking socket, which costs so little that there can be thousands of them."""

import socket

from conformance.protocol.fields import request
from yais.clients.siege.chaos import h2

PATIENCE_S = 30.0
_MESSAGE = h2.message(b"hello")
_FIELDS = h2.block(request("Echo"))


class Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(h2.PREFACE + h2.settings())
        self.file = self.socket.makefile("rb")
        self.stream = -1

    def begin(self) -> None:
        """The headers of a call."""
        self.stream += 2
        self.socket.sendall(h2.frame(h2.HEADERS, h2.END_HEADERS, self.stream, _FIELDS))

    def ask(self) -> None:
        """One call. Raises unless it is answered as it should be."""
        self.begin()
        self.socket.sendall(h2.data(self.stream, _MESSAGE))
        received, is_over = b"", False
        while not is_over:
            head, payload = self.read()
            if head.stream == self.stream:
                received += payload if head.type == h2.DATA else b""
                is_over = bool(head.flags & h2.END_STREAM)
        if received != _MESSAGE:
            raise ValueError(f"the answer was {received!r}")

    def read(self) -> tuple[h2.FrameHeader, bytes]:
        """The next frame."""
        data = self.file.read(h2.HEAD_BYTES)
        if len(data) < h2.HEAD_BYTES:
            raise ConnectionError("the server has gone")
        head = h2.frame_header(data)
        return head, self.file.read(head.length)

    def close(self) -> None:
        self.file.close()
        self.socket.close()

"""`python -m conformance.safety.innocent PORT`: a client that does no harm, and notes how long it waits.

It asks every few milliseconds until its stdin ends, though at least `AT_LEAST` times, and then prints the seconds that
each call took, as JSON. It is a process of its own, with nothing but a socket, so that what it waits for is the server
and not its neighbours.
"""

import json
import select
import socket
import struct
import sys
import time

PAUSE_S = 0.005
AT_LEAST = 20
PATIENCE_S = 30.0

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
_MESSAGE = b"\0\0\0\0\5hello"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_FIELDS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/test.Probe/Echo",
    ":authority": "innocent",
    "te": "trailers",
    "content-type": "application/grpc",
}


def literal(name: str, value: str) -> bytes:
    """A field of up to 126 bytes in the form of HPACK that needs no table."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


_BLOCK = b"".join(literal(*field) for field in _FIELDS.items())


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


class Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(_PREFACE)
        self.file = self.socket.makefile("rb")
        self.stream = -1

    def begin(self) -> None:
        """The headers of a call."""
        self.stream += 2
        self.socket.sendall(frame(_HEADERS, _END_HEADERS, self.stream, _BLOCK))

    def ask(self) -> None:
        """One call. Raises unless it is answered as it should be."""
        self.begin()
        self.socket.sendall(frame(_DATA, _END_STREAM, self.stream, _MESSAGE))
        received, is_over = b"", False
        while not is_over:
            size, kind, flags, stream = self.head()
            payload = self.file.read(size)
            if stream == self.stream:
                received += payload if kind == _DATA else b""
                is_over = bool(flags & _END_STREAM)
        if received != _MESSAGE:
            raise ValueError(f"the answer was {received!r}")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def head(self) -> tuple[int, int, int, int]:
        data = self.file.read(9)
        if len(data) < 9:
            raise ConnectionError("the server has gone")
        return int.from_bytes(data[:3]), data[3], data[4], int.from_bytes(data[5:]) & 0x7FFF_FFFF


def main() -> None:
    client = Client(int(sys.argv[1]))
    client.ask()
    print("ready", flush=True)
    waited: list[float] = []
    while not select.select([sys.stdin], [], [], PAUSE_S)[0] or len(waited) < AT_LEAST:
        begun = time.monotonic()
        client.ask()
        waited.append(time.monotonic() - begun)
    print(json.dumps(waited))


if __name__ == "__main__":
    main()

"""A TCP proxy that notes how each gRPC message went over the wire: compressed or not, which grpcio tells nobody."""

import asyncio
from collections import defaultdict
from types import TracebackType
from typing import Self

from hyperframe.frame import DataFrame, Frame

from yais.clients.siege.chaos.h2 import HEAD_BYTES, MESSAGE_HEAD_BYTES, PREFACE

CLIENT_PREFACE = len(PREFACE)
CHUNK = 1 << 16


class MessageFlags:
    """The compressed flag of each message that goes one way on a connection, kept by stream.

    A message counts once it is complete. `skip` bytes stand before the first frame.
    """

    def __init__(self, skip: int = 0) -> None:
        self.by_stream: dict[int, list[bool]] = {}
        self._skip = skip
        self._rest = bytearray()
        self._bodies: defaultdict[int, bytearray] = defaultdict(bytearray)

    def feed(self, data: bytes) -> None:
        self._rest += data
        skipped = min(self._skip, len(self._rest))
        del self._rest[:skipped]
        self._skip -= skipped
        while frame := self._next_frame():
            if isinstance(frame, DataFrame):
                self._note(frame.stream_id, frame.data)

    def latest(self) -> list[bool]:
        """The flags of the newest stream that carried a message."""
        return self.by_stream[max(self.by_stream)]

    def _next_frame(self) -> Frame | None:
        if len(self._rest) < HEAD_BYTES:
            return None
        frame, length = Frame.parse_frame_header(memoryview(bytes(self._rest[:HEAD_BYTES])))
        end = HEAD_BYTES + length
        if len(self._rest) < end:
            return None
        frame.parse_body(memoryview(bytes(self._rest[HEAD_BYTES:end])))
        del self._rest[:end]
        return frame

    def _note(self, stream: int, data: bytes) -> None:
        body = self._bodies[stream]
        body += data
        while len(body) >= MESSAGE_HEAD_BYTES and len(body) >= (end := MESSAGE_HEAD_BYTES + int.from_bytes(body[1:5])):
            self.by_stream.setdefault(stream, []).append(bool(body[0]))
            del body[:end]


class Connection:
    """What went over one connection, each way."""

    def __init__(self) -> None:
        self.requests = MessageFlags(CLIENT_PREFACE)
        self.replies = MessageFlags()


class Tap:
    """Listens on `address` within its block, and passes everything on to `upstream` and back.

    Bytes are noted before they are passed on, so that who has received a message finds its flag here.
    `connections` has them by the port from which `upstream` sees them come, the newest last.
    """

    def __init__(self, upstream: str) -> None:
        self.connections: dict[int, Connection] = {}
        self._upstream = upstream.rsplit(":", 1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        port = upstream_writer.get_extra_info("sockname")[1]
        connection = self.connections[port] = Connection()
        ways = [
            asyncio.create_task(_pass_on(reader, upstream_writer, connection.requests)),
            asyncio.create_task(_pass_on(upstream_reader, writer, connection.replies)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways)
        self._tasks.difference_update(ways)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flags: MessageFlags) -> None:
    """Either way's end ends the other: what one side closed is closed to the other side too."""
    try:
        while data := await reader.read(CHUNK):
            flags.feed(data)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()

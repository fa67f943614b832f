"""A connection of bare frames, which sends what a channel would not."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yais.clients.siege.chaos import frames
from yais.clients.siege.chaos.ledger import Shot

METHOD = "/inference.GRPCInferenceService/ModelInfer"
# RFC 9113, section 6.9.2: the window of a connection, and of a stream unless the settings say otherwise.
_WINDOW = 65_535
_GREETING = {frames.HEADER_TABLE_SIZE: 0}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Peer:
    """Answers SETTINGS, PING and data as HTTP/2 asks, unless it is one that never reads; the rest is up to the caller.

    `room` is how many bytes of DATA the server takes on the connection, as far as was heard.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.room = _WINDOW
        self._stream = -1
        self._endings: dict[int, asyncio.Future[int | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    def greet(self, settings: dict[int, int] | None = None) -> None:
        self.write(frames.PREFACE + frames.settings(_GREETING | (settings or {})))

    def read(self) -> None:
        """Reads from now on, to the end."""
        self._reading = asyncio.create_task(self._read())

    def read_nothing(self) -> None:
        """Leaves what comes to the socket's buffer, and then to the server's."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    @property
    def _is_read_to_the_end(self) -> bool:
        """No answer will come, though bytes could still be sent to who has only closed his side."""
        return self._reading is not None and self._reading.done()

    def write(self, data: bytes) -> None:
        """Raises ConnectionError when the connection is known to be over."""
        if self._writer.is_closing() or self._is_read_to_the_end:
            raise ConnectionResetError("the connection is over")
        self._writer.write(data)

    async def send(self, data: bytes) -> None:
        self.write(data)
        await self._writer.drain()

    def open_stream(self) -> int:
        """The number of the next stream; `ended` waits for its end."""
        self._stream += 2
        self._endings[self._stream] = asyncio.get_running_loop().create_future()
        return self._stream

    def request(self, stream: int, shot: Shot, timeout: str | None = None) -> bytes:
        """The frames of a whole request, for which there must be `room`; `timeout` is the value of grpc-timeout."""
        message = frames.message(shot.body)
        self.room -= len(message)
        return frames.headers(stream, METHOD, timeout) + frames.data(stream, message)

    def has_room(self, shot: Shot) -> bool:
        return len(shot.body) + frames.MESSAGE_HEAD_BYTES <= self.room

    async def ended(self, stream: int) -> int | None:
        """The status that the stream ends with, None when it is reset or its connection lost."""
        return await self._endings[stream]

    def end_writing(self) -> None:
        if not self._writer.is_closing():
            self._writer.write_eof()

    async def heard(self) -> bytes:
        """Whatever comes next, for who does not read frames; empty at the end."""
        return await self._reader.read(65_536)

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        reset(self._writer)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._end_all()
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()
        if self._reading is not None and not self._reading.cancelled():
            self._reading.result()

    async def _read(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = frames.head(await self._reader.readexactly(frames.HEAD_BYTES))
                self._take(head, await self._reader.readexactly(head.length))
        self._end_all()

    def _take(self, head: frames.Head, payload: bytes) -> None:
        is_ack = bool(head.flags & frames.ACK)
        match head.kind:
            case frames.SETTINGS if not is_ack:
                self.write(frames.frame(frames.SETTINGS, frames.ACK))
            case frames.PING if not is_ack:
                self.write(frames.frame(frames.PING, frames.ACK, payload=payload))
            case frames.DATA if payload:
                self.write(b"".join(frames.window_update(stream, len(payload)) for stream in (0, head.stream)))
            case frames.HEADERS if head.flags & frames.END_STREAM:
                self._end(head.stream, frames.grpc_status(payload))
            case frames.RST_STREAM:
                self._end(head.stream, None)
            case frames.WINDOW_UPDATE if head.stream == 0:
                self.room += int.from_bytes(payload)

    def _end(self, stream: int, status: int | None) -> None:
        ending = self._endings.get(stream)
        if ending is not None and not ending.done():
            ending.set_result(status)

    def _end_all(self) -> None:
        for stream in self._endings:
            self._end(stream, None)


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(host, port)
    peer = Peer(reader, writer)
    try:
        yield peer
    finally:
        await peer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Aborts with RST. The loop's own socket object may not let its options be set, but its descriptor does."""
    # After the end of a transport, its number may be another's.
    if not writer.transport.is_closing():
        descriptor = writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()

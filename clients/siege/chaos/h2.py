"""HTTP/2 frames and gRPC messages as bytes, legal or not, and a connection that sends them.

A well-behaved channel makes none that are illegal. Sources: RFC 9113, sections 3.4 (preface), 4.1 (frames) and 6;
RFC 7541, sections 5.1 (integers) and 6.2 (fields) and appendix B (Huffman's code); gRPC's PROTOCOL-HTTP2.md.
"""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from yais.clients.protocol import MODEL_INFER

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
# Flags: RFC 9113, sections 6.1, 6.2, 6.5 and 6.7.
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20
# Settings: RFC 9113, section 6.5.2; error codes: section 7.
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6
NO_ERROR, CANCEL = 0, 8
DEADLINE_EXCEEDED = 4
LARGEST_WINDOW = 2**31 - 1

HEAD_BYTES = 9
MESSAGE_HEAD_BYTES = 5
# What every peer takes: RFC 9113, section 6.5.2.
LARGEST_FRAME = 16_384
_STATUS = b"grpc-status"
# The name as Huffman's code has it, of 8 bytes.
_STATUS_HUFFMAN = bytes.fromhex("9acac8b21234da8f")
_HUFFMAN = 0x80
_DIGITS = {f"{code:05b}": digit for code, digit in zip(range(3), "012", strict=True)} | {
    f"{code:06b}": digit for code, digit in zip(range(0x19, 0x20), "3456789", strict=True)
}
# RFC 9113, section 6.9.2: the window of a connection, and of a stream unless the settings say otherwise.
_WINDOW = 65_535
# No dynamic table, so that a block can be read without those before it: see `grpc_status`.
_GREETING = {HEADER_TABLE_SIZE: 0}
# SO_LINGER with a time of 0: close() then discards what is unsent, and sends RST.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FrameHeader(NamedTuple):
    """The header in front of each frame's payload."""

    length: int
    type: int
    flags: int
    stream: int


def frame_header(data: bytes) -> FrameHeader:
    return FrameHeader(int.from_bytes(data[:3]), data[3], data[4], int.from_bytes(data[5:9]) & LARGEST_WINDOW)


def frames_in(data: bytes) -> Iterator[tuple[FrameHeader, bytes]]:
    """The headers and payloads of the frames in `data`; the last payload may be shorter than its header says."""
    at = 0
    while at + HEAD_BYTES <= len(data):
        start = at + HEAD_BYTES
        found = frame_header(data[at:start])
        at = start + found.length
        yield found, data[start:at]


def frame(frame_type: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame of any type; `length` stands in its header instead of the payload's."""
    size = len(payload) if length is None else length
    return size.to_bytes(3) + bytes((frame_type, flags)) + number(stream) + payload


def number(value: int) -> bytes:
    """Four bytes, as streams, error codes and increments of windows are written."""
    return value.to_bytes(4)


def settings(values: Mapping[int, int] | None = None) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in (values or {}).items()))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, number(code))


def goaway(last: int, code: int = NO_ERROR, reason: bytes = b"") -> bytes:
    return frame(GOAWAY, payload=number(last) + number(code) + reason)


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, number(size))


def message(body: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """The five bytes of gRPC and a body; `length` is what they say instead of the body's."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def headers(stream: int, path: str, timeout: str | None = None) -> bytes:
    """The headers of a call; `timeout` as grpc-timeout spells it, or as it does not."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "chaos"), ("te", "trailers")]
    fields += [("content-type", "application/grpc"), *([] if timeout is None else [("grpc-timeout", timeout)])]
    return frame(HEADERS, END_HEADERS, stream, block(fields))


def data(stream: int, payload: bytes, flags: int = END_STREAM, largest: int = LARGEST_FRAME) -> bytes:
    """`payload` in frames of at most `largest` bytes, the last of them with `flags`."""
    pieces = [payload[start : start + largest] for start in range(0, len(payload), largest)] or [b""]
    last = len(pieces) - 1
    return b"".join(frame(DATA, flags * (index == last), stream, piece) for index, piece in enumerate(pieces))


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header fields that neither use nor change a table, so that the same bytes do for each call of a connection."""
    return b"".join(literal(name.encode(), value.encode()) for name, value in fields)


def literal(name: bytes, value: bytes, is_indexed: bool = False) -> bytes:
    """A field with a new name, which is put into the receiver's table if it is indexed."""
    return (b"\x40" if is_indexed else b"\0") + _string(name) + _string(value)


def grpc_status(block: bytes) -> int | None:
    """The status in a block of header fields, None where there is none.

    Only for a peer that was asked to use no table of fields (SETTINGS_HEADER_TABLE_SIZE 0), so that names and values
    stand in the block itself, plain or in Huffman's code.
    """
    for name in (_STATUS, _STATUS_HUFFMAN):
        _, found, value = block.partition(name)
        if found and value:
            size = value[0] & ~_HUFFMAN
            text = value[1 : 1 + size]
            digits = _huffman_digits(text) if value[0] & _HUFFMAN else text.decode("latin-1")
            return int(digits) if digits.isdecimal() else None
    return None


def _huffman_digits(text: bytes) -> str:
    """Decimal digits from Huffman's code; what is no digit, such as the padding, ends them."""
    bits, digits = "".join(f"{byte:08b}" for byte in text), ""
    while (code := next((code for code in (bits[:5], bits[:6]) if code in _DIGITS), None)) is not None:
        digits, bits = digits + _DIGITS[code], bits[len(code) :]
    return digits


def _string(text: bytes) -> bytes:
    """The length, in an integer whose first byte has room for 126, and the text."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    digits, rest = bytearray((127,)), len(text) - 127
    while rest >= 128:
        digits.append(rest & 127 | 128)
        rest >>= 7
    digits.append(rest)
    return bytes(digits) + text


class Peer:
    """A connection of bare frames, which sends what a channel would not.

    It answers SETTINGS, PING and DATA as HTTP/2 asks once it reads; the rest is up to the caller. `room` is how many
    bytes of DATA the server takes on the connection, as far as it has said.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.room = _WINDOW
        self._stream = -1
        self._endings: dict[int, asyncio.Future[int | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    def greet(self, values: Mapping[int, int] | None = None) -> None:
        """The preface with SETTINGS."""
        self.write(PREFACE + settings({**_GREETING, **(values or {})}))

    def start_reading(self) -> None:
        self._reading = asyncio.create_task(self._read())

    def pause_reading(self) -> None:
        """Leaves what arrives in the socket's buffer, and then in the server's."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def write(self, data: bytes) -> None:
        """Raises ConnectionError when the connection is known to be over."""
        # After the end of what there is to read no answer will come, though bytes could still be sent.
        is_at_end = self._reading is not None and self._reading.done()
        if self._writer.is_closing() or is_at_end:
            raise ConnectionResetError("the connection is over")
        self._writer.write(data)

    async def send(self, data: bytes) -> None:
        self.write(data)
        await self._writer.drain()

    def open_stream(self) -> int:
        """The number of the next stream; `ended` waits for its end."""
        # Clients' streams are odd and ascend: RFC 9113, section 5.1.1.
        self._stream += 2
        self._endings[self._stream] = asyncio.get_running_loop().create_future()
        return self._stream

    def request(self, stream: int, body: bytes, timeout: str | None = None) -> bytes:
        """The frames of a whole request, for which there must be `room`; `timeout` is the value of grpc-timeout."""
        framed = message(body)
        self.room -= len(framed)
        return headers(stream, MODEL_INFER, timeout) + data(stream, framed)

    def has_room(self, body: bytes) -> bool:
        return len(body) + MESSAGE_HEAD_BYTES <= self.room

    async def ended(self, stream: int) -> int | None:
        """The status that the stream ends with, None when it is reset or its connection lost."""
        return await self._endings[stream]

    def end_writing(self) -> None:
        if not self._writer.is_closing():
            self._writer.write_eof()

    async def receive(self) -> bytes:
        """The next bytes, for a caller that does not read frames; empty at the end."""
        return await self._reader.read(65_536)

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        abort(self._writer)

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
                header = frame_header(await self._reader.readexactly(HEAD_BYTES))
                self._handle(header, await self._reader.readexactly(header.length))
        self._end_all()

    def _handle(self, header: FrameHeader, payload: bytes) -> None:
        frame_type, flags, stream = header.type, header.flags, header.stream
        if frame_type in (SETTINGS, PING) and not flags & ACK:
            self.write(frame(frame_type, ACK, payload=payload if frame_type == PING else b""))
        elif frame_type == DATA and payload:
            # Both windows count DATA: RFC 9113, section 6.9.1.
            self.write(b"".join(window_update(number, len(payload)) for number in (0, stream)))
        elif frame_type == HEADERS and flags & END_STREAM:
            self._end(stream, grpc_status(payload))
        elif frame_type == RST_STREAM:
            self._end(stream, None)
        elif frame_type == WINDOW_UPDATE and stream == 0:
            self.room += int.from_bytes(payload)

    def _end(self, stream: int, status: int | None) -> None:
        ending = self._endings.get(stream)
        if ending is not None and not ending.done():
            ending.set_result(status)

    def _end_all(self) -> None:
        for stream in self._endings:
            self._end(stream, None)


@asynccontextmanager
async def connect(host: str, port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(host, port)
    peer = Peer(reader, writer)
    try:
        yield peer
    finally:
        await peer.close()


def abort(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST."""
    # The loop's socket object may refuse to set options, but its descriptor does not; after the transport's end, the
    # descriptor's number may belong to another.
    if not writer.transport.is_closing():
        descriptor = writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()

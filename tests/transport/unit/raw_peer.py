"""A peer that sends header fields as they are given, and shows those that it receives."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

from yais.clients.siege.chaos import h2

Fields = list[tuple[bytes, bytes]]

OK = (b":status", b"200")
CONTENT_TYPE = (b"content-type", b"application/grpc")
EMPTY_MESSAGE = bytes(5)
_WITH_STREAM_END = (h2.DATA, h2.HEADERS)


@dataclass
class Answer:
    """Of a raw server: headers, with a message and trailers unless those are None; or a reset, if there is a code."""

    headers: Fields = field(default_factory=lambda: [OK, CONTENT_TYPE])
    trailers: Fields | None = field(default_factory=lambda: [(b"grpc-status", b"0")])
    reset: int | None = None


@dataclass
class Received:
    """What came: a list of fields for each block of headers, and the data."""

    blocks: list[Fields] = field(default_factory=list)
    data: bytes = b""

    def value(self, name: bytes) -> bytes:
        return next(value for fields in self.blocks for key, value in fields if key == name)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[h2.FrameHeader, bytes]:
    """The next frame; SETTINGS and PING are answered. Raises IncompleteReadError at the end."""
    head = h2.frame_header(await reader.readexactly(h2.HEAD_BYTES))
    payload = await reader.readexactly(head.length)
    if head.type in (h2.SETTINGS, h2.PING) and not head.flags & h2.ACK:
        writer.write(h2.frame(head.type, h2.ACK, payload=payload if head.type == h2.PING else b""))
    return head, payload


def _is_last(head: h2.FrameHeader) -> bool:
    """Whether nothing follows on the frame's stream."""
    return head.type == h2.RST_STREAM or (head.type in _WITH_STREAM_END and bool(head.flags & h2.END_STREAM))


def _headers(encoder: Encoder, stream: int, fields: Fields, flags: int = 0) -> bytes:
    return h2.frame(h2.HEADERS, h2.END_HEADERS | flags, stream, encoder.encode(fields))


@asynccontextmanager
async def raw_server(answer: Callable[[Fields], Answer], context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that answers each request by its headers."""

    handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers[asyncio.create_task(_serve(reader, writer, answer))] = writer

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]
        for writer in handlers.values():
            writer.close()
        await asyncio.gather(*handlers)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Callable[[Fields], Answer]
) -> None:
    encoder, decoder, answers = Encoder(), Decoder(), {}
    writer.write(h2.settings())
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readexactly(len(h2.PREFACE))
        while True:
            head, payload = await _read(reader, writer)
            if head.type == h2.HEADERS:
                answers[head.stream] = answer(decoder.decode(payload, raw=True))
            if _is_last(head) and head.stream in answers:
                writer.write(_bytes_of(answers.pop(head.stream), encoder, head.stream))
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


def _bytes_of(answer: Answer, encoder: Encoder, stream: int) -> bytes:
    if answer.reset is not None:
        return h2.reset(stream, answer.reset)
    if answer.trailers is None:
        return _headers(encoder, stream, answer.headers, h2.END_STREAM)
    return b"".join(
        (
            _headers(encoder, stream, answer.headers),
            h2.data(stream, EMPTY_MESSAGE, 0),
            _headers(encoder, stream, answer.trailers, h2.END_STREAM),
        )
    )


async def raw_call(to: int | socket.socket, extra: Fields = (), body: bytes = EMPTY_MESSAGE) -> Received:
    """What the server on a local port, or behind a connected socket, answers to a unary call."""
    address = {"host": "127.0.0.1", "port": to} if isinstance(to, int) else {"sock": to}
    reader, writer = await asyncio.open_connection(**address)
    request = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/b"), (b":authority", b"x")]
    fields = [*request, (b"te", b"trailers"), CONTENT_TYPE, *extra]
    writer.write(h2.PREFACE + h2.settings() + _headers(Encoder(), 1, fields) + h2.data(1, body))
    result, decoder, is_over = Received(), Decoder(), False
    while not is_over:
        head, payload = await _read(reader, writer)
        if head.type == h2.HEADERS:
            result.blocks.append(decoder.decode(payload, raw=True))
        elif head.type == h2.DATA:
            result.data += payload
        is_over = _is_last(head)
    writer.close()
    await writer.wait_closed()
    return result

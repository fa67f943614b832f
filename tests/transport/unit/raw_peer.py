"""A peer that sends header fields as they are given, and shows those that it receives."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

Fields = list[tuple[bytes, bytes]]

OK = (b":status", b"200")
CONTENT_TYPE = (b"content-type", b"application/grpc")
EMPTY_MESSAGE = bytes(5)


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


def _connection(client_side: bool) -> H2Connection:
    plain = {"header_encoding": None, "normalize_outbound_headers": False}
    lax = {"validate_inbound_headers": False, "validate_outbound_headers": False}
    connection = H2Connection(H2Configuration(client_side, **plain, **lax))
    connection.initiate_connection()
    return connection


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
    connection, answers = _connection(client_side=False), {}
    writer.write(connection.data_to_send())
    with suppress(ConnectionError):
        while received := await reader.read(2**16):
            for event in connection.receive_data(received):
                if isinstance(event, RequestReceived):
                    answers[event.stream_id] = answer(event.headers)
                elif isinstance(event, StreamEnded):
                    _send(connection, event.stream_id, answers[event.stream_id])
            writer.write(connection.data_to_send())
        writer.close()
        await writer.wait_closed()


def _send(connection: H2Connection, stream: int, answer: Answer) -> None:
    if answer.reset is not None:
        connection.reset_stream(stream, answer.reset)
        return
    connection.send_headers(stream, answer.headers, end_stream=answer.trailers is None)
    if answer.trailers is not None:
        connection.send_data(stream, EMPTY_MESSAGE)
        connection.send_headers(stream, answer.trailers, end_stream=True)


async def raw_call(to: int | socket.socket, extra: Fields = (), body: bytes = EMPTY_MESSAGE) -> Received:
    """What the server on a local port, or behind a connected socket, answers to a unary call."""
    address = {"host": "127.0.0.1", "port": to} if isinstance(to, int) else {"sock": to}
    reader, writer = await asyncio.open_connection(**address)
    connection, result = _connection(client_side=True), Received()
    request = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/b"), (b":authority", b"x")]
    connection.send_headers(1, [*request, (b"te", b"trailers"), CONTENT_TYPE, *extra])
    connection.send_data(1, body, end_stream=True)
    writer.write(connection.data_to_send())
    is_over = False
    while not is_over:
        received = await reader.read(2**16)
        if not received:
            raise ConnectionError("the server has gone")
        for event in connection.receive_data(received):
            if isinstance(event, ResponseReceived | TrailersReceived):
                result.blocks.append(event.headers)
            elif isinstance(event, DataReceived):
                result.data += event.data
            is_over = is_over or isinstance(event, StreamEnded | StreamReset)
        writer.write(connection.data_to_send())
    writer.close()
    await writer.wait_closed()
    return result

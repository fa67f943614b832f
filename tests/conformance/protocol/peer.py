"""One end of an HTTP/2 connection that sends whatever it is told to, and insists on the exact reaction."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from h2.errors import ErrorCodes
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from conformance.protocol.fields import Fields, request
from conformance.protocol.line import Line
from conformance.protocol.serving import PATIENCE_S
from yais.clients.siege.chaos.h2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    frame,
    message,
    settings,
)

# The type and the flags.
_SETTINGS = b"\x04\x00"

AnyFrame = TypeVar("AnyFrame", bound=Frame)


@dataclass
class Answer:
    """What came on a stream: blocks of header fields, data, and the code of a reset, if there was one."""

    blocks: list[dict[str, str]] = field(default_factory=list)
    data: bytes = b""
    reset: int | None = None
    is_ended: bool = False

    @property
    def status(self) -> int:
        return int(self.blocks[-1]["grpc-status"])

    @property
    def details(self) -> str:
        return self.blocks[-1].get("grpc-message", "")

    @property
    def http_status(self) -> str:
        return self.blocks[0][":status"]


class Peer(Line):
    """A client or a server that knows no rules."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.seen: list[Frame] = []
        self.fields: dict[str, str] = {}
        self.unacknowledged = 0

    async def shake_hands(self, values: dict[int, int] | None = None, is_client: bool = True) -> None:
        """Both sides' SETTINGS, acknowledged."""
        if not is_client:
            assert await self.read(len(PREFACE)) == PREFACE
        await self.send(PREFACE if is_client else b"", settings(values))
        await self.expect(SettingsFrame)
        await self.send(frame(SETTINGS, ACK))
        assert "ACK" in (await self.expect(SettingsFrame)).flags

    async def send(self, *pieces: bytes) -> None:
        """Each SETTINGS frame must be a piece by itself."""
        self.unacknowledged += sum(piece[3:5] == _SETTINGS for piece in pieces)
        await self.write(b"".join(pieces))

    def headers(self, stream: int, fields: Fields, flags: int = END_HEADERS, kind: int = HEADERS) -> bytes:
        return frame(kind, flags, stream, self.encoder.encode(fields))

    def call(self, stream: int = 1, method: str = "Echo", body: bytes = b"hello") -> bytes:
        """All frames of a legal unary call."""
        return self.headers(stream, request(method)) + frame(DATA, END_STREAM, stream, message(body))

    async def frame(self, patience: float | None = PATIENCE_S) -> Frame:
        """The next frame; `fields` are those of the last HEADERS. Raises EOFError or ConnectionError at the end."""
        async with asyncio.timeout(patience):
            # Nothing is taken before the frame is whole, so that who is cancelled meanwhile leaves the rest in order.
            await self.fill(HEAD_BYTES)
            reply, length = Frame.parse_frame_header(memoryview(bytes(self.received[:HEAD_BYTES])))
            await self.fill(HEAD_BYTES + length)
        reply.parse_body(memoryview(await self.read(HEAD_BYTES + length))[HEAD_BYTES:])
        self.seen.append(reply)
        self.unacknowledged -= isinstance(reply, SettingsFrame) and "ACK" in reply.flags
        if isinstance(reply, HeadersFrame):
            assert "END_HEADERS" in reply.flags
            self.fields = {str(name): str(value) for name, value in self.decoder.decode(reply.data)}
        return reply

    async def expect(self, kind: type[AnyFrame], stream: int | None = None) -> AnyFrame:
        """The next frame of a kind; others before it, apart from the end of the connection, do not matter."""
        while not isinstance(frame := await self._frame_or_fail(), kind) or stream not in (None, frame.stream_id):
            assert not isinstance(frame, GoAwayFrame), f"{frame} came instead of {kind.__name__}"
        return frame

    async def expect_goaway(self, *codes: ErrorCodes) -> bytes:
        """The peer ends the connection, and says why, by one of `codes` and perhaps a text."""
        frame = await self.expect(GoAwayFrame)
        assert ErrorCodes(frame.error_code) in codes
        await self.expect_end()
        return frame.additional_data

    async def expect_reset(self, stream: int, code: ErrorCodes) -> None:
        """The peer ends a stream, says why, and goes on with the connection."""
        assert ErrorCodes((await self.expect(RstStreamFrame, stream)).error_code) is code
        await self.expect_pong()

    async def expect_reset_or_goaway(self, stream: int) -> RstStreamFrame | GoAwayFrame:
        """Where the RFC leaves the choice."""
        while True:
            frame = await self._frame_or_fail()
            if isinstance(frame, GoAwayFrame) or (isinstance(frame, RstStreamFrame) and frame.stream_id == stream):
                return frame

    async def expect_pong(self) -> None:
        """The connection lives."""
        await self.send(frame(PING, payload=b"are you?"))
        while (reply := await self.expect(PingFrame)).opaque_data != b"are you?" or "ACK" not in reply.flags:
            pass

    async def settle(self) -> None:
        """Reads all that the peer has to say so far. Acknowledgements overtake the rest; the last one follows it."""
        for _ in range(2):
            await self.send(settings())
            while self.unacknowledged:
                await self.expect(SettingsFrame)

    async def expect_end(self) -> None:
        """The connection ends, with or without further frames."""
        with suppress(EOFError, ConnectionError):
            while True:
                await self.frame()

    async def expect_service(self, stream: int) -> None:
        """A legal call on the same connection is served."""
        await self.send(self.call(stream, body=b"well?"))
        answer = await self.answer(stream)
        assert (answer.data, answer.status) == (message(b"well?"), 0)

    async def answer(self, stream: int) -> Answer:
        """All that comes on a stream, from now up to its end."""
        answer = Answer()
        while not answer.is_ended and answer.reset is None:
            frame = await self._frame_or_fail()
            is_failure = isinstance(frame, GoAwayFrame) and frame.error_code != ErrorCodes.NO_ERROR
            assert not is_failure, f"{frame} came instead of an answer"
            if frame.stream_id == stream:
                self._collect(frame, answer)
        return answer

    def _collect(self, frame: Frame, answer: Answer) -> None:
        if isinstance(frame, HeadersFrame):
            answer.blocks.append(self.fields)
        elif isinstance(frame, DataFrame):
            answer.data += frame.data
        elif isinstance(frame, RstStreamFrame):
            answer.reset = frame.error_code
        answer.is_ended = "END_STREAM" in frame.flags

    async def _frame_or_fail(self) -> Frame:
        try:
            return await self.frame()
        except (EOFError, ConnectionError, TimeoutError) as error:
            raise AssertionError(f"{type(error).__name__} after {self.seen}") from error


@asynccontextmanager
async def connected(port: int, values: dict[int, int] | None = None) -> AsyncIterator[Peer]:
    """A client that has shaken hands, with SETTINGS of its own."""
    peer = await Peer.connect(port)
    try:
        await peer.shake_hands(values)
        yield peer
    finally:
        peer.close()

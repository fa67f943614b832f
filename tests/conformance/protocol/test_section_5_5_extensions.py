import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import SettingsFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, answer
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    frame,
    message,
    settings,
)

# ALTSVC, ORIGIN and PRIORITY_UPDATE, which only servers or nobody here knows, and some that nobody knows.
UNKNOWN = [0x0A, 0x0C, 0x10, 0x42, 0xFF]


@pytest.mark.parametrize("kind", UNKNOWN)
@pytest.mark.parametrize("stream", [0, 1, 3, 2])
async def test_unknown_frames_are_ignored_wherever_they_are(peer: Peer, kind: int, stream: int) -> None:
    await peer.send(peer.headers(1, request()), frame(kind, 0xFF, stream, b"whatever it is, it is nothing"))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_unknown_frames_inside_of_a_header_block_are_refused(peer: Peer, kind: int) -> None:
    block = peer.encoder.encode(request())
    await peer.send(frame(HEADERS, 0, 1, block[:5]), frame(kind, 0, 1), frame(CONTINUATION, END_HEADERS, 1, block[5:]))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize("identifier", [0x0, 0x7, 0xA0A, 0xFFFF])
async def test_unknown_settings_are_ignored_and_acknowledged(peer: Peer, identifier: int) -> None:
    await peer.send(settings({identifier: 2**32 - 1}))
    assert "ACK" in (await peer.expect(SettingsFrame)).flags
    await peer.expect_service(1)


async def test_the_largest_unknown_frame_is_ignored(peer: Peer) -> None:
    await peer.send(frame(0x42, 0, 0, bytes(16384)), frame(PING, payload=bytes(8)))
    await peer.expect_service(1)


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_unknown_frames_of_a_server_are_ignored(hostile: Hostile, kind: int) -> None:
    call, peer = await hostile.called()
    unknown = frame(kind, 0xFF, 1, b"whatever it is, it is nothing")
    await peer.send(unknown, settings({0xFFFF: 1}), answer(peer), unknown)
    assert await call == b"hello"
    await peer.expect_pong()

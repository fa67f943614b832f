import pytest
from hyperframe.frame import SettingsFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, answer
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import DATA, END_STREAM, frame, message, settings

# ALTSVC, which nghttp2 knows, and one that nobody knows.
UNKNOWN = [0x0A, 0x42]


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_unknown_frames_are_ignored_wherever_they_are(peer: Peer, kind: int) -> None:
    await peer.send(peer.headers(1, request()), frame(kind, 0xFF, 1, b"whatever it is, it is nothing"))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_unknown_settings_are_ignored_and_acknowledged(peer: Peer) -> None:
    await peer.send(settings({0xFFFF: 2**32 - 1}))
    assert "ACK" in (await peer.expect(SettingsFrame)).flags
    await peer.expect_service(1)


@pytest.mark.parametrize("kind", UNKNOWN)
async def test_unknown_frames_of_a_server_are_ignored(hostile: Hostile, kind: int) -> None:
    call, peer = await hostile.called()
    unknown = frame(kind, 0xFF, 1, b"whatever it is, it is nothing")
    await peer.send(unknown, settings({0xFFFF: 1}), answer(peer), unknown)
    assert await call == b"hello"
    await peer.expect_pong()

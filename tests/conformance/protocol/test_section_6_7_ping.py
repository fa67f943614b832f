import asyncio

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import PingFrame, SettingsFrame

from conformance.protocol.hostile import Hostile, hostile_server, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import serve
from yais.clients.siege.chaos.h2 import ACK, PING, frame

CONTENT = b"8 octets"
QUESTION = frame(PING, payload=CONTENT)
KEEPALIVE = {
    "grpc__keepalive_time_ms": 50,
    "grpc__keepalive_timeout_ms": 50,
    "grpc__keepalive_permit_without_calls": 1,
}


async def test_a_ping_comes_back(peer: Peer) -> None:
    await peer.send(QUESTION)
    frame = await peer.expect(PingFrame)
    assert (frame.opaque_data, list(frame.flags)) == (CONTENT, ["ACK"])


async def test_an_answer_to_no_ping_is_ignored(peer: Peer) -> None:
    await peer.send(frame(PING, ACK, 0, CONTENT), frame(PING, ACK, 0, b"draining"))
    await peer.expect_service(1)
    assert not [reply for reply in peer.seen if isinstance(reply, PingFrame)]


async def test_pings_beside_calls_are_answered_however_many(peer: Peer) -> None:
    for stream in range(1, 21, 2):
        await peer.send(QUESTION, QUESTION)
        await peer.expect_service(stream)
    assert sum(isinstance(frame, PingFrame) for frame in peer.seen) == 20


async def test_pings_into_silence_end_the_connection_after_two_strikes(peer: Peer) -> None:
    """The first is free, as are two that come too soon."""
    await peer.send(QUESTION, QUESTION, QUESTION)
    for _ in range(3):
        await peer.expect(PingFrame)
    await peer.send(QUESTION)
    assert await peer.expect_goaway(ErrorCodes.ENHANCE_YOUR_CALM) == b"too_many_pings"


async def test_pings_at_the_allowed_interval_are_no_strikes() -> None:
    with serve(grpc__http2__min_recv_ping_interval_without_data_ms=20) as server:
        async with connected(server.port) as peer:
            for _ in range(10):
                await asyncio.sleep(0.03)
                await peer.send(QUESTION)
                await peer.expect(PingFrame)


async def test_a_server_pings_a_silent_client_and_gives_it_up() -> None:
    with serve(**KEEPALIVE) as server:
        async with connected(server.port) as peer:
            await peer.expect(PingFrame)
            await peer.expect_end()


@pytest.mark.parametrize("reply", [frame(PING, ACK, 0, b"keepaliv"), frame(0x42)], ids=["ACK", "anything"])
async def test_a_client_that_answers_is_kept(reply: bytes) -> None:
    with serve(**KEEPALIVE | {"grpc__keepalive_timeout_ms": 2000}) as server:
        async with connected(server.port) as peer:
            for _ in range(4):
                await peer.expect(PingFrame)
                await peer.send(reply)
            await peer.expect_service(1)


async def test_a_channel_answers_pings(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(QUESTION, QUESTION, QUESTION)
    for _ in range(3):
        frame = await peer.expect(PingFrame)
        assert (frame.opaque_data, list(frame.flags)) == (CONTENT, ["ACK"])
    call.cancel()


async def test_a_channel_gives_up_a_server_that_went_silent() -> None:
    async with hostile_server(("grpc.keepalive_time_ms", 50), ("grpc.keepalive_timeout_ms", 50)) as hostile:
        call, peer = await hostile.called()
        await peer.expect(PingFrame)
        await peer.expect_end()
        assert (await status_of(call)).name == "UNAVAILABLE"
        assert not [frame for frame in peer.seen if isinstance(frame, SettingsFrame) and frame.stream_id]

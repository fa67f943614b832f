import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame, PingFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, Hostile, answer, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served, serve
from yais.clients.siege.chaos.h2 import ACK, DATA, END_STREAM, PING, frame, goaway, message, settings

EVERYTHING = 2**31 - 1
MAX_AGE_MS = 200


@pytest.fixture
async def old() -> AsyncIterator[Peer]:
    """A client whose connection the server is about to drain."""
    with serve(grpc__max_connection_age_ms=MAX_AGE_MS, grpc__max_connection_age_grace_ms=600) as server:
        async with connected(server.port) as peer:
            yield peer


async def first_notice(peer: Peer) -> PingFrame:
    """Of a drain: it names no call yet, and a PING follows."""
    notice = await peer.expect(GoAwayFrame)
    assert (notice.last_stream_id, notice.error_code) == (EVERYTHING, ErrorCodes.NO_ERROR)
    return await peer.expect(PingFrame)


async def test_calls_under_way_outlive_the_clients_goaway(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), goaway(0))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_a_drain_serves_what_was_sent_before_the_client_knew(old: Peer) -> None:
    await old.send(old.headers(1, request()))
    ping = await first_notice(old)
    await old.send(old.call(3, body=b"late"), frame(PING, ACK, payload=ping.opaque_data))
    last = await old.expect(GoAwayFrame)
    assert (last.last_stream_id, last.error_code) == (3, ErrorCodes.NO_ERROR)
    assert (await old.answer(3)).data == message(b"late")
    await old.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await old.answer(1)).data == message(b"hello")
    await old.expect_end()


async def test_calls_after_the_last_are_not_served(old: Peer) -> None:
    await old.send(old.headers(1, request()))
    ping = await first_notice(old)
    await old.send(frame(PING, ACK, payload=ping.opaque_data))
    assert (await old.expect(GoAwayFrame)).last_stream_id == 1
    await old.send(old.call(3), frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await old.answer(1)).data == message(b"hello")
    await old.expect_end()
    assert not [reply for reply in old.seen if reply.stream_id == 3]


async def test_an_idle_connection_is_closed_at_once(old: Peer) -> None:
    ping = await first_notice(old)
    await old.send(frame(PING, ACK, payload=ping.opaque_data))
    assert (await old.expect(GoAwayFrame)).last_stream_id == 0
    await old.expect_end()


async def test_a_client_that_does_not_answer_has_the_grace_and_no_more(old: Peer) -> None:
    await old.send(old.headers(1, request("Hold")))
    await first_notice(old)
    assert await old.expect_goaway(ErrorCodes.NO_ERROR) == b"max_age"


async def test_an_idle_client_is_sent_away() -> None:
    with serve(grpc__max_connection_idle_ms=100) as server:
        async with connected(server.port) as peer:
            await peer.expect_service(1)
            await first_notice(peer)


async def test_a_server_that_stops_tells_its_clients() -> None:
    server = Served({})
    async with connected(server.port) as peer:
        await peer.send(peer.call(1, "Hold"))
        await peer.settle()
        stopping = asyncio.ensure_future(asyncio.to_thread(server.stop))
        await peer.expect_goaway(ErrorCodes.NO_ERROR)
        assert await stopping == 0


async def test_a_channel_turns_to_a_new_connection(hostile: Hostile) -> None:
    first, old = await hostile.called(b"first")
    await old.send(goaway(1))
    second, new = await hostile.called(b"second")
    await old.send(answer(old, 1, b"first"))
    await new.send(answer(new, 1, b"second"))
    assert (await first, await second) == (b"first", b"second")
    await old.expect_end()


async def test_a_channel_follows_a_drain_in_two_steps(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(goaway(EVERYTHING), frame(PING, payload=b"draining"))
    await peer.expect(PingFrame)
    await peer.send(goaway(1), answer(peer))
    assert await call == b"hello"
    await peer.expect_end()


async def test_calls_past_the_last_are_made_again_elsewhere(hostile: Hostile) -> None:
    call, old = await hostile.called()
    await old.send(goaway(0))
    new = await hostile.connection()
    await new.expect(HeadersFrame, 1)
    await new.send(answer(new))
    assert await call == b"hello"


@pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, ErrorCodes.ENHANCE_YOUR_CALM, 0xFFFF])
async def test_a_goaway_of_any_code_leaves_the_call_that_it_names(hostile: Hostile, code: int) -> None:
    call, peer = await hostile.called()
    await peer.send(goaway(1, code, b"whatever \xff\x00 the reason"), answer(peer))
    assert await call == b"hello"


async def test_a_goaway_may_not_take_back_what_one_before_has_said(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(goaway(1), goaway(3))
    await peer.expect_end()
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_a_server_that_sends_everybody_away_is_not_stormed(hostile: Hostile) -> None:
    """Ten times a second is what the option asks for that the channel was made with."""
    call = hostile.call(timeout=1)
    connections = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while True:
                peer = await hostile.bare_connection()
                await peer.send(settings(), goaway(0))
                connections += 1
    assert (await status_of(call)).name in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert 2 <= connections <= 15


async def test_a_goaway_that_comes_with_the_settings_is_heeded(hostile: Hostile) -> None:
    call = hostile.call()
    peer = await hostile.bare_connection()
    await peer.send(settings(), goaway(0))
    peer = await hostile.connection()
    await peer.expect(HeadersFrame, 1)
    await peer.send(answer(peer))
    assert await call == b"hello"


async def test_a_connection_that_ends_under_a_call_makes_it_unavailable(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hel", length=5)))
    peer.close()
    assert (await status_of(call)).name == "UNAVAILABLE"

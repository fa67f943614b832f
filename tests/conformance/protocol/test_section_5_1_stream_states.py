import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import HeadersFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, answer, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
    message,
    number,
)

CANCEL = number(ErrorCodes.CANCEL)


async def test_an_idle_stream_takes_headers_first(peer: Peer) -> None:
    await peer.send(frame(DATA, 0, 1, b"data"))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_a_channel_knows_idle_streams(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(DATA, 0, 3, b"data"))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_nothing_may_follow_the_end_of_a_stream_but_control(peer: Peer) -> None:
    """RFC 9113 has WINDOW_UPDATE, PRIORITY and RST_STREAM in half-closed (remote)."""
    await peer.send(peer.call(1, "Hold"))
    await peer.send(frame(WINDOW_UPDATE, 0, 1, number(1)), frame(PRIORITY, 0, 1, bytes(5)))
    await peer.send(frame(RST_STREAM, 0, 1, CANCEL))
    await peer.expect_service(3)


async def test_data_after_the_end_of_a_stream_is_refused(peer: Peer) -> None:
    await peer.send(peer.call(1, "Hold"), frame(DATA, 0, 1, b"more"))
    await peer.expect_goaway(ErrorCodes.STREAM_CLOSED)


@pytest.mark.parametrize("is_reset", [False, True], ids=["answered", "reset"])
async def test_what_was_under_way_to_a_closed_stream_is_ignored(peer: Peer, is_reset: bool) -> None:
    await peer.send(peer.call(1, "Hold" if is_reset else "Echo"))
    if is_reset:
        await peer.send(frame(RST_STREAM, 0, 1, CANCEL))
    else:
        await peer.answer(1)
    await peer.send(frame(DATA, END_STREAM, 1, b"late"))
    await peer.expect_service(3)


async def test_a_reset_ends_the_call_that_it_is_about_and_no_other(peer: Peer, server: object) -> None:
    await peer.send(peer.headers(1, request("Chat")), peer.headers(3, request("Chat")))
    await peer.send(frame(RST_STREAM, 0, 1, CANCEL), frame(DATA, END_STREAM, 3, message(b"still here")))
    assert (await peer.answer(3)).data == message(b"still here")


async def test_an_answer_after_the_answer_is_ignored(hostile: Hostile) -> None:
    """The channel's side of the stream was closed already: the stream is gone."""
    call, peer = await hostile.called()
    await peer.send(answer(peer), frame(DATA, 0, 1, b"more"))
    assert await call == b"hello"
    second = hostile.call(b"second")
    await peer.expect(HeadersFrame, 3)
    await peer.send(answer(peer, 3, b"second"))
    assert await second == b"second"


async def test_data_after_a_servers_end_of_stream_is_refused(hostile: Hostile) -> None:
    """A stream that the channel still sends on is half-closed, and the server has said its last word."""
    chat = hostile.channel.stream_stream("/test.Probe/Chat")(timeout=5)
    peer = await hostile.connection()
    await peer.expect(HeadersFrame, 1)
    await peer.send(peer.headers(1, OK), peer.headers(1, TRAILERS, END_HEADERS | END_STREAM))
    await peer.send(frame(DATA, 0, 1, b"more"))
    await peer.expect_goaway(ErrorCodes.STREAM_CLOSED)
    assert (await chat.code()).name == "OK"

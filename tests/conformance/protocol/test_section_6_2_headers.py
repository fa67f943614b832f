import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PRIORITY,
    PUSH_PROMISE,
    WITH_PRIORITY,
    frame,
    message,
    number,
)


@pytest.mark.parametrize("padding", [0, 1, 255])
@pytest.mark.parametrize("flags", [0, WITH_PRIORITY])
async def test_padding_is_no_part_of_the_fields(peer: Peer, padding: int, flags: int) -> None:
    block = peer.encoder.encode(request())
    content = (number(0) + b"\x10" if flags else b"") + block
    piece = frame(HEADERS, END_HEADERS | PADDED | flags, 1, bytes((padding,)) + content + bytes(padding))
    await peer.send(piece, frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_padding_longer_than_its_frame_is_refused(peer: Peer) -> None:
    block = peer.encoder.encode(request())
    await peer.send(frame(HEADERS, END_HEADERS | PADDED, 1, bytes((len(block) + 1,)) + block))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_padding_that_reaches_into_the_priority_is_refused(peer: Peer) -> None:
    await peer.send(frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x06" + bytes(10)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_a_block_of_no_fields_is_no_request(peer: Peer) -> None:
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


async def test_a_priority_of_the_connection_is_refused(peer: Peer) -> None:
    await peer.send(frame(PRIORITY, 0, 0, bytes(5)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_clients_promise_nothing(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), frame(PUSH_PROMISE, END_HEADERS, 1, number(2)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_servers_may_promise_nothing_either(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + peer.encoder.encode(request())))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_padding_of_an_answers_fields_longer_than_its_frame_is_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    block = peer.encoder.encode(OK)
    await peer.send(frame(HEADERS, END_HEADERS | PADDED, 1, bytes((len(block) + 1,)) + block))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, HeadersFrame, PriorityFrame, PushPromiseFrame

from conformance.protocol.frames import END_HEADERS, END_STREAM, PADDED, PRIORITY, message, number, raw, request
from conformance.protocol.hostile import OK, Hostile, status_of
from conformance.protocol.peer import Peer


@pytest.mark.parametrize("padding", [0, 1, 255])
@pytest.mark.parametrize("flags", [0, PRIORITY])
async def test_padding_is_no_part_of_the_fields(peer: Peer, padding: int, flags: int) -> None:
    block = peer.encoder.encode(request())
    content = (number(0) + b"\x10" if flags else b"") + block
    frame = raw(HeadersFrame, END_HEADERS | PADDED | flags, 1, bytes((padding,)) + content + bytes(padding))
    await peer.send(frame, raw(DataFrame, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_padding_longer_than_its_frame_is_refused(peer: Peer) -> None:
    block = peer.encoder.encode(request())
    await peer.send(raw(HeadersFrame, END_HEADERS | PADDED, 1, bytes((len(block) + 1,)) + block))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_padding_that_reaches_into_the_priority_is_refused(peer: Peer) -> None:
    await peer.send(raw(HeadersFrame, END_HEADERS | PADDED | PRIORITY, 1, b"\x06" + bytes(10)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_a_block_of_no_fields_is_no_request(peer: Peer) -> None:
    await peer.send(raw(HeadersFrame, END_HEADERS | END_STREAM, 1))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


async def test_a_priority_of_the_connection_is_refused(peer: Peer) -> None:
    await peer.send(raw(PriorityFrame, 0, 0, bytes(5)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_clients_promise_nothing(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), raw(PushPromiseFrame, END_HEADERS, 1, number(2)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_servers_may_promise_nothing_either(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(raw(PushPromiseFrame, END_HEADERS, 1, number(2) + peer.encoder.encode(request())))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_padding_of_an_answers_fields_longer_than_its_frame_is_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    block = peer.encoder.encode(OK)
    await peer.send(raw(HeadersFrame, END_HEADERS | PADDED, 1, bytes((len(block) + 1,)) + block))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"

from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PUSH_PROMISE,
    WITH_PRIORITY,
    frame,
    message,
    number,
)


async def test_padding_and_priority_are_no_part_of_the_fields(peer: Peer) -> None:
    block = peer.encoder.encode(request())
    content = bytes((255,)) + number(0) + b"\x10" + block + bytes(255)
    await peer.send(frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, content))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_a_block_of_no_fields_is_no_request(peer: Peer) -> None:
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


async def test_servers_may_promise_nothing_either(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + peer.encoder.encode(request())))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"

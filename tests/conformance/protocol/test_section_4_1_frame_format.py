import asyncio

import pytest

from conformance.protocol.fields import request
from conformance.protocol.hostile import TRAILERS, Hostile, answer
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served
from yais.clients.siege.chaos.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    WINDOW_UPDATE,
    frame,
    message,
    number,
)

RESERVED = 0x8000_0000
UNDEFINED_FLAGS = 0x82


async def test_a_call_may_be_cut_at_every_byte(peer: Peer, server: Served) -> None:
    """The answer to another client tells that the server has read what was sent before."""
    await peer.expect_service(1)
    async with connected(server.port) as other:
        for position in range(1, len(peer.call(1))):
            stream = 2 * position + 1
            data = peer.call(stream)
            await peer.send(data[:position])
            await other.expect_service(stream)
            await peer.send(data[position:])
            result = await peer.answer(stream)
            assert (result.data, result.status) == (message(b"hello"), 0)


async def test_a_call_may_come_byte_by_byte(peer: Peer) -> None:
    for byte in peer.call(1):
        await peer.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await peer.answer(1)).status == 0


async def test_an_answer_may_be_cut_at_every_byte(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    for byte in answer(peer):
        await peer.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert await call == b"hello"


async def test_undefined_flags_are_ignored(peer: Peer) -> None:
    await peer.send(
        peer.headers(1, request(), END_HEADERS | 0x92),
        frame(DATA, END_STREAM | 0xF6, 1, message(b"hello")),
        frame(PING, 0xFE, payload=b"are they"),
        frame(WINDOW_UPDATE, 0xFF, payload=number(1)),
    )
    assert (await peer.answer(1)).data == message(b"hello")
    await peer.expect_service(3)


async def test_the_reserved_bit_of_a_stream_is_ignored(peer: Peer) -> None:
    block = peer.encoder.encode(request())
    await peer.send(
        frame(HEADERS, END_HEADERS, RESERVED | 1, block),
        frame(DATA, END_STREAM, RESERVED | 1, message(b"hello")),
    )
    assert (await peer.answer(1)).data == message(b"hello")


@pytest.mark.parametrize(
    "piece",
    [
        frame(WINDOW_UPDATE, payload=number(RESERVED | 1)),
        frame(GOAWAY, payload=number(RESERVED) + number(0)),
    ],
    ids=["WINDOW_UPDATE", "GOAWAY"],
)
async def test_reserved_bits_inside_of_frames_are_ignored(peer: Peer, piece: bytes) -> None:
    await peer.send(peer.headers(1, request()), piece, frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_undefined_flags_of_an_answer_are_ignored(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(
        peer.headers(1, [(":status", "200"), ("content-type", "application/grpc")], END_HEADERS | 0x92),
        frame(DATA, 0xF6, RESERVED | 1, message(b"hello")),
        peer.headers(1, TRAILERS, END_HEADERS | END_STREAM | 0x92),
    )
    assert await call == b"hello"

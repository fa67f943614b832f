from itertools import pairwise

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    frame,
    message,
    number,
)


def split(stream: int, block: bytes, *positions: int, flags: int = 0) -> bytes:
    """HEADERS and as many CONTINUATION frames as there are positions."""
    cuts = [0, *positions, len(block)]
    parts = [block[start:end] for start, end in pairwise(cuts)]
    frames = [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    return b"".join(
        (frame(HEADERS, flags, stream, parts[0]), *frames, frame(CONTINUATION, END_HEADERS, stream, parts[-1]))
    )


async def test_a_block_may_be_cut_at_every_byte(peer: Peer) -> None:
    await peer.expect_service(1)
    for position in range(len(peer.encoder.encode(request())) + 1):
        stream = 2 * position + 3
        await peer.send(split(stream, peer.encoder.encode(request()), position))
        await peer.send(frame(DATA, END_STREAM, stream, message(b"hello")))
        assert (await peer.answer(stream)).data == message(b"hello")


async def test_a_block_may_have_empty_parts(peer: Peer) -> None:
    await peer.send(split(1, peer.encoder.encode(request()), 0, 0, 7, 7, 7))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_trailers_may_be_cut(peer: Peer) -> None:
    await peer.send(peer.headers(1, request("Count")), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(split(1, peer.encoder.encode([("x-checksum", "1")]), 3, 5, flags=END_STREAM))
    assert (await peer.answer(1)).data == message(b"[5]")


async def test_a_block_of_too_many_parts_ends_the_connection(peer: Peer) -> None:
    """Nothing may come between them, so they would keep others out for as long as they come."""
    await peer.send(split(1, peer.encoder.encode(request()), *range(1, 100)))
    await peer.expect_end()


@pytest.mark.parametrize("stream", [0, 1, 3])
async def test_a_continuation_of_nothing_is_refused(peer: Peer, stream: int) -> None:
    await peer.send(peer.headers(1, request()), frame(CONTINUATION, END_HEADERS, stream))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "between",
    [
        frame(DATA, 0, 1, b"data"),
        frame(HEADERS, END_HEADERS, 1),
        frame(HEADERS, END_HEADERS, 3),
        frame(CONTINUATION, 0, 3),
        frame(PING, payload=bytes(8)),
        frame(RST_STREAM, 0, 1, number(8)),
    ],
    ids=["DATA", "HEADERS", "HEADERS of another", "CONTINUATION of another", "PING", "RST_STREAM"],
)
async def test_nothing_may_come_inside_of_a_block(peer: Peer, between: bytes) -> None:
    block = peer.encoder.encode(request())
    await peer.send(frame(HEADERS, 0, 1, block[:9]), between, frame(CONTINUATION, END_HEADERS, 1, block[9:]))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_an_answers_blocks_may_be_cut_at_every_byte(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    block = peer.encoder.encode([*OK, ("x-much", "y" * 300)])
    await peer.send(split(1, block, *range(1, 8)), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(split(1, peer.encoder.encode(TRAILERS), 0, 1, flags=END_STREAM))
    assert await call == b"hello"


async def test_nothing_may_come_inside_of_an_answers_block(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(HEADERS, 0, 1, peer.encoder.encode(OK)), frame(PING, payload=bytes(8)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_a_servers_endless_block_ends_the_connection(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(HEADERS, 0, 1, peer.encoder.encode(OK)), *(frame(CONTINUATION, 0, 1) for _ in range(100)))
    await peer.expect_end()
    assert (await status_of(call)).name == "UNAVAILABLE"

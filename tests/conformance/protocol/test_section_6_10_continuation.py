from itertools import pairwise

from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, frame, message


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


async def test_a_block_of_too_many_parts_ends_the_connection(peer: Peer) -> None:
    """Nothing may come between them, so they would keep others out for as long as they come."""
    await peer.send(split(1, peer.encoder.encode(request()), *range(1, 100)))
    await peer.expect_end()


async def test_nothing_may_come_inside_of_a_block(peer: Peer) -> None:
    block = peer.encoder.encode(request())
    await peer.send(frame(HEADERS, 0, 1, block[:9]), frame(PING, payload=bytes(8)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_a_servers_endless_block_ends_the_connection(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(HEADERS, 0, 1, peer.encoder.encode(OK)), *(frame(CONTINUATION, 0, 1) for _ in range(100)))
    await peer.expect_end()
    assert (await status_of(call)).name == "UNAVAILABLE"

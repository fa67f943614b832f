import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
)

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    message,
)

LARGEST = 16384

WRONG_SIZES = [
    frame(SETTINGS, payload=bytes(5)),
    frame(SETTINGS, ACK, payload=bytes(6)),
    frame(PING, payload=bytes(7)),
    frame(PING, payload=bytes(9)),
    frame(PING, ACK, payload=b""),
    frame(WINDOW_UPDATE, payload=bytes(3)),
    frame(WINDOW_UPDATE, stream=1, payload=bytes(5)),
    frame(RST_STREAM, stream=1, payload=bytes(3)),
    frame(RST_STREAM, stream=1, payload=bytes(5)),
    frame(GOAWAY, payload=bytes(7)),
    frame(PRIORITY, stream=1, payload=bytes(4)),
    frame(PRIORITY, stream=1, payload=bytes(6)),
]


def describe(frame: bytes) -> str:
    return f"type {frame[3]} of {int.from_bytes(frame[:3])}"


@pytest.mark.parametrize("kind", [DATA, HEADERS, CONTINUATION, SETTINGS, PING, 0xEE])
@pytest.mark.parametrize("length", [LARGEST + 1, 2**24 - 1])
async def test_a_frame_past_the_limit_is_refused_by_its_head(peer: Peer, kind: int, length: int) -> None:
    await peer.send(peer.headers(1, request()))
    await peer.send(frame(kind, 0, 1, length=length))
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("frame", WRONG_SIZES, ids=describe)
async def test_a_frame_of_a_fixed_size_must_have_it(peer: Peer, frame: bytes) -> None:
    await peer.send(peer.headers(1, request()), frame)
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("frame", WRONG_SIZES, ids=describe)
async def test_a_servers_frame_of_a_fixed_size_must_have_it(hostile: Hostile, frame: bytes) -> None:
    call, peer = await hostile.called()
    await peer.send(frame)
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_the_largest_frame_is_taken(peer: Peer) -> None:
    body = bytes(LARGEST - 5)
    await peer.send(peer.headers(1, request()), frame(DATA, END_STREAM, 1, message(body)))
    assert (await peer.answer(1)).data == message(body)


async def test_a_servers_frame_past_the_limit_is_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, length=LARGEST + 1))
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_larger_frames_are_not_sent_to_those_who_take_them(peer: Peer) -> None:
    await peer.send(frame(SETTINGS, payload=b"\x00\x05" + (2**24 - 1).to_bytes(4)))
    await peer.send(peer.headers(1, request("Large")), frame(DATA, END_STREAM, 1, message(b"40000")))
    assert len((await peer.answer(1)).data) == 40005
    assert max(len(reply.data) for reply in peer.seen if isinstance(reply, DataFrame)) <= LARGEST


async def test_a_header_block_ends_where_its_last_frame_does(peer: Peer) -> None:
    """A field that is cut by the end of the block is an error of the whole connection."""
    block = peer.encoder.encode(request())
    await peer.send(frame(HEADERS, END_HEADERS, 1, block[:-1]))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)

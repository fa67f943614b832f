import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from conformance.protocol.frames import ACK, END_HEADERS, END_STREAM, Kind, message, raw, request
from conformance.protocol.hostile import OK, Hostile, status_of
from conformance.protocol.peer import Peer

LARGEST = 16384

WRONG_SIZES = [
    raw(SettingsFrame, payload=bytes(5)),
    raw(SettingsFrame, ACK, payload=bytes(6)),
    raw(PingFrame, payload=bytes(7)),
    raw(PingFrame, payload=bytes(9)),
    raw(PingFrame, ACK, payload=b""),
    raw(WindowUpdateFrame, payload=bytes(3)),
    raw(WindowUpdateFrame, stream=1, payload=bytes(5)),
    raw(RstStreamFrame, stream=1, payload=bytes(3)),
    raw(RstStreamFrame, stream=1, payload=bytes(5)),
    raw(GoAwayFrame, payload=bytes(7)),
    raw(PriorityFrame, stream=1, payload=bytes(4)),
    raw(PriorityFrame, stream=1, payload=bytes(6)),
]


def describe(frame: bytes) -> str:
    return f"type {frame[3]} of {int.from_bytes(frame[:3])}"


@pytest.mark.parametrize("kind", [DataFrame, HeadersFrame, ContinuationFrame, SettingsFrame, PingFrame, 0xEE])
@pytest.mark.parametrize("length", [LARGEST + 1, 2**24 - 1])
async def test_a_frame_past_the_limit_is_refused_by_its_head(peer: Peer, kind: Kind, length: int) -> None:
    await peer.send(peer.headers(1, request()))
    await peer.send(raw(kind, 0, 1, length=length))
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
    await peer.send(peer.headers(1, request()), raw(DataFrame, END_STREAM, 1, message(body)))
    assert (await peer.answer(1)).data == message(body)


async def test_a_servers_frame_past_the_limit_is_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), raw(DataFrame, 0, 1, length=LARGEST + 1))
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_larger_frames_are_not_sent_to_those_who_take_them(peer: Peer) -> None:
    await peer.send(raw(SettingsFrame, payload=b"\x00\x05" + (2**24 - 1).to_bytes(4)))
    await peer.send(peer.headers(1, request("Large")), raw(DataFrame, END_STREAM, 1, message(b"40000")))
    assert len((await peer.answer(1)).data) == 40005
    assert max(len(frame.data) for frame in peer.seen if isinstance(frame, DataFrame)) <= LARGEST


async def test_a_header_block_ends_where_its_last_frame_does(peer: Peer) -> None:
    """A field that is cut by the end of the block is an error of the whole connection."""
    block = peer.encoder.encode(request())
    await peer.send(raw(HeadersFrame, END_HEADERS, 1, block[:-1]))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)

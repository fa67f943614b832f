from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import DATA, END_STREAM, PING, SETTINGS, frame, message

LARGEST = 16384

WRONG = frame(PING, payload=bytes(7))


async def test_a_frame_past_the_limit_is_refused_by_its_head(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()))
    await peer.send(frame(DATA, 0, 1, length=LARGEST + 1))
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)


async def test_a_frame_of_a_fixed_size_must_have_it(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), WRONG)
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)


async def test_a_servers_frame_of_a_fixed_size_must_have_it(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(WRONG)
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_the_largest_frame_is_taken(peer: Peer) -> None:
    body = bytes(LARGEST - 5)
    await peer.send(peer.headers(1, request()), frame(DATA, END_STREAM, 1, message(body)))
    assert (await peer.answer(1)).data == message(body)


async def test_larger_frames_are_not_sent_to_those_who_take_them(peer: Peer) -> None:
    await peer.send(frame(SETTINGS, payload=b"\x00\x05" + (2**24 - 1).to_bytes(4)))
    await peer.send(peer.headers(1, request("Large")), frame(DATA, END_STREAM, 1, message(b"40000")))
    assert len((await peer.answer(1)).data) == 40005
    assert max(len(reply.data) for reply in peer.seen if isinstance(reply, DataFrame)) <= LARGEST

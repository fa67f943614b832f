from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, HEADERS, frame, message

FINAL = END_HEADERS | END_STREAM


async def test_a_request_may_have_trailers(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(peer.headers(1, [("x-checksum", "1")], FINAL))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_trailers_that_do_not_end_the_stream_end_the_call(peer: Peer) -> None:
    await peer.send(peer.headers(1, request("Count")), peer.headers(1, [("x-checksum", "1")]))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


async def test_trailers_without_fields_end_a_request(peer: Peer) -> None:
    await peer.send(peer.headers(1, request()), frame(DATA, 0, 1, message(b"hello")), frame(HEADERS, FINAL, 1))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_a_content_length_that_is_not_so_ends_the_call(peer: Peer) -> None:
    await peer.send(peer.headers(1, request(content_length="9")), frame(DATA, END_STREAM, 1, message(b"hello")))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


async def test_a_content_length_that_is_so_is_served(peer: Peer) -> None:
    await peer.send(peer.headers(1, request(content_length="10")), frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_an_answer_after_trailers_is_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello")), peer.headers(1, TRAILERS))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "INTERNAL"


async def test_an_answer_of_another_length_than_it_says_is_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, [*OK, ("content-length", "11")]), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(peer.headers(1, TRAILERS, FINAL))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    assert (await status_of(call)).name == "INTERNAL"

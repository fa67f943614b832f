"""HPACK, RFC 7541: a broken block breaks the state that both ends share, and so the connection."""

from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, status_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, HEADERS, frame

INDEX_ZERO = b"\x80"


async def test_a_broken_block_ends_the_connection(peer: Peer) -> None:
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, INDEX_ZERO))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)


async def test_a_broken_block_of_an_answer_ends_the_connection(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, INDEX_ZERO))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)
    assert (await status_of(call)).name == "UNAVAILABLE"


async def test_a_block_of_a_refused_call_still_counts(peer: Peer) -> None:
    """Its fields are in the table that the next block refers to."""
    fields = request("Echo", ("Upper", "case"), ("x-shared", "value"))
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.encoder.encode(fields)))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)
    await peer.expect_service(3)


async def test_a_block_of_a_stream_that_is_gone_still_counts(peer: Peer) -> None:
    await peer.send(peer.call(5))
    await peer.answer(5)
    await peer.send(peer.headers(5, [("x-late", "trailer"), ("x-shared", "value")], END_HEADERS | END_STREAM))
    await peer.send(peer.headers(7, request("Describe", ("x-shared", "value")), END_HEADERS))
    await peer.send(frame(DATA, END_STREAM, 7, bytes(5)))
    assert b'["x-shared", "value"]' in (await peer.answer(7)).data

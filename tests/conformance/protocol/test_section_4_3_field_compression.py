"""HPACK, RFC 7541: a broken block breaks the state that both ends share, and so the connection."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import SettingsFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, Hostile, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served
from yais.clients.siege.chaos.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER_TABLE_SIZE,
    HEADERS,
    frame,
    settings,
)

BROKEN = {
    "index zero": b"\x80",
    "index past the tables": b"\xff\x80\x01",
    "an endless integer": b"\xff" + b"\xff" * 20,
    "an integer past 32 bits": b"\xff\xff\xff\xff\xff\x7f",
    "a name past the end": b"\x40\x7fab",
    "a value past the end": b"\x40\x01a\x05b",
    "Huffman's end of string": b"\x00\x01a\x84\xff\xff\xff\xff",
    "Huffman's padding of eight bits": b"\x00\x01a\x82\x1f\xff",
    "Huffman's padding with zeros": b"\x00\x01a\x81\x00",
    "a table larger than allowed": b"\x3f\xe2\x1f",
    "a table resized inside of a block": b"\x82\x20",
    "an instruction that is cut short": b"\x40",
}

broken = pytest.mark.parametrize("block", BROKEN.values(), ids=BROKEN)


@broken
async def test_a_broken_block_ends_the_connection(peer: Peer, block: bytes) -> None:
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)


async def test_an_index_of_an_empty_table_ends_the_connection(peer: Peer) -> None:
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xbe"))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)


@broken
async def test_a_broken_block_in_trailers_ends_the_connection(peer: Peer, block: bytes) -> None:
    await peer.send(peer.headers(1, request("Count")), frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)


@broken
async def test_a_broken_block_cut_in_two_frames_ends_the_connection(peer: Peer, block: bytes) -> None:
    await peer.send(frame(HEADERS, END_STREAM, 1, block[:1]), frame(CONTINUATION, END_HEADERS, 1, block[1:]))
    await peer.expect_goaway(ErrorCodes.COMPRESSION_ERROR)


@broken
async def test_a_broken_block_of_an_answer_ends_the_connection(hostile: Hostile, block: bytes) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
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


@pytest.mark.parametrize("size", [0, 64, 4096])
async def test_a_client_may_shrink_its_table(peer: Peer, size: int) -> None:
    peer.encoder.header_table_size = size
    for stream in (1, 3, 5):
        await peer.expect_service(stream)


async def test_the_server_keeps_to_the_table_that_it_is_given(server: Served) -> None:
    async with connected(server.port, {HEADER_TABLE_SIZE: 0}) as peer:
        peer.decoder.max_allowed_table_size = 0
        for stream in (1, 3, 5):
            await peer.expect_service(stream)


async def test_a_huge_table_may_be_offered(server: Served) -> None:
    async with connected(server.port, {HEADER_TABLE_SIZE: 2**32 - 1}) as peer:
        await peer.expect_service(1)


async def test_a_table_may_shrink_and_grow_between_two_blocks(peer: Peer) -> None:
    await peer.expect_service(1)
    await peer.send(settings({HEADER_TABLE_SIZE: 0}), settings({HEADER_TABLE_SIZE: 4096}))
    await peer.expect(SettingsFrame)
    await peer.expect_service(3)


async def test_an_answer_of_plain_literals_is_read(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    literals = [b"\x00\x07:status\x03200", b"\x10\x0ccontent-type\x10application/grpc", b"\x00\x0bgrpc-status\x017"]
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"".join(literals)))
    assert (await status_of(call)).name == "PERMISSION_DENIED"


async def test_an_answer_may_resize_the_table_first(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(frame(HEADERS, END_HEADERS, 1, b"\x20\x3f\xe1\x1f" + peer.encoder.encode(OK)))
    await peer.send(peer.headers(1, [("grpc-status", "5")], END_HEADERS | END_STREAM))
    assert (await status_of(call)).name == "NOT_FOUND"

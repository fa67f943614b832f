"""The size of a call's headers, as RFC 9113 counts it: names, values and 32 bytes for each field."""

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import Fields, request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, error_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, frame, message

LIMIT = 16384
RESOURCE_EXHAUSTED = 8


def size(fields: Fields) -> int:
    return sum(len(name) + len(value) + 32 for name, value in fields)


def filled(fields: Fields, total: int, name: str = "x-filler") -> Fields:
    """`fields` with one more, which brings them to `total` bytes."""
    return [*fields, (name, "x" * (total - size(fields) - len(name) - 32))]


def many(count: int) -> Fields:
    return [("x", "")] * count


def blocks(stream: int, block: bytes, flags: int = 0) -> bytes:
    """A block of headers of any length, in frames of the largest size."""
    parts = [block[start : start + 16384] for start in range(0, len(block), 16384)]
    frames = [frame(HEADERS, flags, stream, parts[0])]
    frames += [frame(CONTINUATION, 0, stream, part) for part in parts[1:]]
    return b"".join((*frames, frame(CONTINUATION, END_HEADERS, stream)))


async def test_headers_up_to_the_limit_are_served(peer: Peer) -> None:
    await peer.send(blocks(1, peer.encoder.encode(filled(request(), LIMIT))))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


@pytest.mark.parametrize(
    "fields",
    [
        filled(request(), LIMIT + 1),
        filled(request(), 60_000),
        [*request(), *many(LIMIT // 33)],
        [*request(), *many(20_000)],
        [*many(0), *request(_path="/" + "x" * LIMIT)],
        filled(request(), LIMIT + 1, "user-agent"),
    ],
    ids=["one byte more", "one field", "too many fields", "far too many", "path", "agent"],
)
async def test_headers_past_the_limit_are_refused(peer: Peer, fields: Fields) -> None:
    await peer.send(blocks(1, peer.encoder.encode(fields, huffman=False)))
    answer = await peer.answer(1)
    assert (answer.status, answer.is_ended) == (RESOURCE_EXHAUSTED, True)
    assert str(LIMIT) in answer.details
    await peer.expect_service(3)


async def test_a_table_is_no_way_around_the_limit(peer: Peer) -> None:
    """One byte on the wire for each 4,000 bytes of headers."""
    await peer.send(peer.headers(1, request("Echo", ("x-bomb", "x" * 4000)), END_HEADERS | END_STREAM))
    await peer.answer(1)
    reference = peer.encoder.encode([("x-bomb", "x" * 4000)])
    assert len(reference) == 1
    await peer.send(frame(HEADERS, END_HEADERS, 3, peer.encoder.encode(request()) + reference * 1000))
    assert (await peer.answer(3)).status == RESOURCE_EXHAUSTED
    await peer.expect_service(5)


async def test_trailers_past_the_limit_do_not_reach_the_method(peer: Peer) -> None:
    await peer.send(peer.headers(1, request("Describe")), frame(DATA, 0, 1, message(b"")))
    await peer.send(blocks(1, peer.encoder.encode([("x-filler", "y" * 30_000)], huffman=False), END_STREAM))
    answer = await peer.answer(1)
    assert b"yyy" not in answer.data
    await peer.expect_service(3)


async def test_an_answers_headers_past_the_limit_are_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(blocks(1, peer.encoder.encode(filled(OK, LIMIT + 1), huffman=False)))
    error = await error_of(call)
    assert error.code().name == "RESOURCE_EXHAUSTED"
    await peer.expect_reset(1, ErrorCodes.CANCEL)


async def test_an_answers_trailers_past_the_limit_are_refused(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(blocks(1, peer.encoder.encode(filled(TRAILERS, LIMIT + 1), huffman=False), END_STREAM))
    assert (await error_of(call)).code().name == "RESOURCE_EXHAUSTED"

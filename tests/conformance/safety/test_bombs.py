"""Little on the wire, much in memory: compressed fields and messages, and lengths that nothing follows."""

import gzip
import zlib
from collections.abc import Callable
from functools import cache

import pytest

from conformance.protocol.fields import request
from conformance.protocol.peer import Peer, connected
from conformance.safety.attacks import reading
from conformance.safety.watch import LITTLE, MB, watched
from yais.clients.siege.chaos.h2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, data, frame, message

FRAME = 16384
LIMIT = 4 * MB
RESOURCE_EXHAUSTED = 8


async def test_references_to_a_large_field_cost_next_to_nothing() -> None:
    """One byte on the wire for 4,000 of headers: 20 blocks of 100 kB stand for 8 GB."""
    async with watched() as server, connected(server.port) as peer:
        field = ("x-bomb", "x" * 4000)
        await peer.send(peer.headers(1, request("Echo", field), END_HEADERS | END_STREAM))
        await peer.answer(1)
        reference = peer.encoder.encode([field]) * FRAME
        assert len(reference) == FRAME
        for stream in range(3, 43, 2):
            frames = [frame(CONTINUATION, 0, stream, reference)] * 6
            last = frame(CONTINUATION, END_HEADERS, stream)
            await peer.send(frame(HEADERS, END_STREAM, stream, peer.encoder.encode(request())), *frames, last)
            assert (await peer.answer(stream)).status == RESOURCE_EXHAUSTED
        await peer.expect_service(43)


async def test_lists_of_countless_fields_cost_next_to_nothing() -> None:
    async with watched() as server, connected(server.port) as peer:
        for stream in range(1, 41, 2):
            block = peer.encoder.encode(request()) + b"\x00\x01x\x00" * 20_000
            parts = [block[start : start + FRAME] for start in range(0, len(block), FRAME)]
            await peer.send(frame(HEADERS, END_STREAM, stream, parts[0]))
            await peer.send(*(frame(CONTINUATION, 0, stream, part) for part in parts[1:]))
            await peer.send(frame(CONTINUATION, END_HEADERS, stream))
            assert (await peer.answer(stream)).status == RESOURCE_EXHAUSTED
        await peer.expect_service(41)


@pytest.mark.parametrize("length", [LIMIT, LIMIT - 1])
async def test_room_for_a_message_is_not_touched_before_it_comes(length: int) -> None:
    """1,000 messages of 4 MB are announced: 4 GB."""
    async with watched(16 * MB) as server, connected(server.port) as peer:
        for stream in range(1, 2001, 2):
            await peer.send(peer.headers(stream, request()), frame(DATA, 0, stream, message(b"x", length=length)))
        await peer.expect_service(2001)


async def test_lengths_past_the_limit_cost_nothing() -> None:
    async with watched() as server, connected(server.port) as peer:
        for stream in range(1, 2001, 2):
            await peer.send(peer.headers(stream, request()), frame(DATA, 0, stream, message(b"", length=2**32 - 1)))
        async with reading(peer):
            await peer.send(peer.call(2001))
        assert not peer.is_over


@pytest.mark.parametrize("size", [0, 1, 10])
async def test_tiny_messages_that_nobody_takes_are_counted_for_what_they_cost(size: int) -> None:
    """A bytes object takes 33 bytes more than it holds. 40 streams have a window of 1 MB each."""
    held = 8 * MB
    async with watched(3 * held + LITTLE, yais__max_held_bytes=held) as server, connected(server.port) as peer:
        body = message(b"x" * size) * (FRAME // (5 + size))
        for stream in range(1, 81, 2):
            await peer.send(peer.headers(stream, request("Deaf")))
        async with reading(peer):
            for _ in range(MB // FRAME - 1):
                await peer.send(*(frame(DATA, 0, stream, body) for stream in range(1, 81, 2)))
        await peer.expect_service(81)


async def test_messages_that_nobody_takes_are_held_up_to_a_limit() -> None:
    held = 8 * MB
    async with watched(3 * held + LITTLE, yais__max_held_bytes=held) as server, connected(server.port) as peer:
        for stream in range(1, 101, 2):
            await peer.send(peer.headers(stream, request("Deaf")), data(stream, message(bytes(900_000)), 0))
        async with reading(peer):
            await peer.send(peer.call(101))
        assert not peer.is_over


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip up to the limit": ("gzip", lambda: gzip.compress(bytes(LIMIT))),
    "gzip past the limit": ("gzip", lambda: gzip.compress(bytes(16 * LIMIT))),
    "gzip of many members": ("gzip", lambda: gzip.compress(bytes(LIMIT // 900)) * 900),
    "gzip of empty members": ("gzip", lambda: gzip.compress(b"") * 100_000),
    "deflate past the limit": ("deflate", lambda: zlib.compress(bytes(16 * LIMIT))),
}


bomb_of = cache(lambda make: make())


@pytest.mark.parametrize(("encoding", "make"), BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("method", ["Size", "Count"])
async def test_compressed_messages_take_no_more_than_a_message_may(
    encoding: str, make: Callable[[], bytes], method: str
) -> None:
    """Five of them, one behind the other, and ten at once."""
    bomb = bomb_of(make)
    fields = request(method, ("grpc-encoding", encoding))
    async with watched(6 * LIMIT) as server, connected(server.port) as peer:
        for stream in range(1, 11, 2):
            await peer.send(peer.headers(stream, fields), data(stream, message(bomb, 1)))
            await peer.answer(stream)
        for stream in range(11, 31, 2):
            await peer.send(peer.headers(stream, fields), data(stream, message(bomb, 1)))
        await peer.expect_service(31)


async def test_compressed_messages_that_nobody_takes_count_by_their_true_size() -> None:
    """16 MB on the wire would become 16 GB."""
    held = 16 * MB
    bomb = message(gzip.compress(bytes(LIMIT)), 1)
    async with watched(2 * held + 3 * LIMIT, yais__max_held_bytes=held) as server, connected(server.port) as peer:
        await fill(peer, bomb)
        await peer.expect_service(41)


async def fill(peer: Peer, bomb: bytes) -> None:
    for stream in range(1, 41, 2):
        await peer.send(peer.headers(stream, request("Deaf", ("grpc-encoding", "gzip"))))
        await peer.send(data(stream, bomb * 10, 0))

"""Frames without end, which cost the attacker nothing: what must be answered is limited, the rest does no harm."""

from contextlib import suppress

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import Fields, request
from conformance.protocol.peer import connected
from conformance.safety.attacks import code_of, flood, portion, survives
from conformance.safety.watch import watched
from yais.clients.siege.chaos.h2 import (
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
    block,
    frame,
    number,
    settings,
)

QUESTION = frame(PING, payload=bytes(8))


@pytest.mark.parametrize(
    "frame",
    [
        QUESTION,
        settings(),
        settings({3: 1, 4: 65535, 5: 16384}),
        frame(SETTINGS, payload=(b"\xff\xff" + bytes(4)) * 2730),
    ],
    ids=["PING", "SETTINGS", "SETTINGS with values", "SETTINGS of full size"],
)
async def test_what_must_be_answered_is_limited(frame: bytes) -> None:
    async with watched() as server, connected(server.port) as peer:
        await flood(peer, lambda _: portion(frame))
        await peer.expect_end()
        assert code_of(peer) in (None, ErrorCodes.ENHANCE_YOUR_CALM)


@pytest.mark.parametrize(
    "frame", [settings(), frame(PING, ACK, payload=b"draining")], ids=["SETTINGS", "PING's answer"]
)
async def test_who_uses_up_the_ration_is_told_so(frame: bytes) -> None:
    """A client that reads what it is answered, before it goes on."""
    async with watched() as server, connected(server.port) as peer:
        with suppress(AssertionError):
            for _ in range(200):
                await peer.send(*[frame] * 100)
                await peer.settle()
        await peer.expect_end()
        assert code_of(peer) is ErrorCodes.ENHANCE_YOUR_CALM


async def test_pings_are_limited_even_if_nobody_reads_the_answers() -> None:
    async with watched() as server, connected(server.port) as peer:
        for _ in range(50):
            await peer.send(portion(QUESTION))
        await peer.expect_end()


HARMLESS = {
    "WINDOW_UPDATE of the connection": frame(WINDOW_UPDATE, 0, 0, number(1)),
    "WINDOW_UPDATE of a call": frame(WINDOW_UPDATE, 0, 1, number(1)),
    "WINDOW_UPDATE of a closed stream": frame(WINDOW_UPDATE, 0, 3, number(1)),
    "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)),
    "PRIORITY of idle streams": b"".join(frame(PRIORITY, 0, stream, bytes(5)) for stream in range(5, 3000)),
    "empty DATA": frame(DATA, 0, 1),
    "padding": frame(DATA, 0x8, 1, b"\xff" + bytes(255)),
    "DATA of a closed stream": frame(DATA, 0, 3, bytes(1000)),
    "RST_STREAM of a closed stream": frame(RST_STREAM, 0, 3, number(8)),
    "GOAWAY": frame(GOAWAY, payload=bytes(8)),
    "GOAWAY with much to say": frame(GOAWAY, payload=bytes(16384)),
    "unknown": frame(0x42),
    "large and unknown": frame(0x42, payload=bytes(16384)),
}


@pytest.mark.parametrize("piece", HARMLESS.values(), ids=HARMLESS)
async def test_what_needs_no_answer_is_limited_or_does_no_harm(piece: bytes) -> None:
    """The call that was begun before is served afterwards, unless the server has had enough."""
    async with watched() as server, connected(server.port) as peer:
        await peer.send(peer.headers(1, request("Count")))
        await peer.expect_service(3)
        await flood(peer, lambda _: portion(piece))
        if await survives(peer):
            await peer.send(frame(DATA, END_STREAM, 1))
            assert (await peer.answer(1)).status == 0
        assert code_of(peer) in (None, ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.INTERNAL_ERROR)


@pytest.mark.parametrize("size", [0, 1, 16384])
async def test_a_block_of_headers_without_end_ends_the_connection(size: int) -> None:
    async with watched() as server, connected(server.port) as peer:
        field = b"\x00\x01x\x01y"
        await peer.send(frame(HEADERS, 0, 1, peer.encoder.encode(request())))
        await flood(peer, lambda _: frame(CONTINUATION, 0, 1, (field * 4000)[: size // 5 * 5]) * 8)
        await peer.expect_end()


async def test_trailers_without_end_end_the_connection() -> None:
    async with watched() as server, connected(server.port) as peer:
        await peer.send(peer.headers(1, request("Count")), frame(HEADERS, 0x1, 1))
        await flood(peer, lambda _: frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y" * 3000) * 8)
        await peer.expect_end()


REFUSED = {
    "not found": request("Unknown"),
    "not gRPC": request(content_type="text/html"),
    "not POST": request(_method="GET"),
    "too much": [*request(), *[("x-filler", "x" * 100)] * 130],
    "malformed": request(_path=None),
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
async def test_calls_that_are_refused_over_and_over_are_limited_or_do_no_harm(fields: Fields) -> None:
    once = block(fields)
    async with watched() as server, connected(server.port) as peer:

        def calls(index: int) -> bytes:
            streams = range(40 * index + 1, 40 * index + 41, 2)
            return b"".join(frame(HEADERS, END_HEADERS, stream, once) for stream in streams)

        await flood(peer, calls, 200)
        await survives(peer)
        assert code_of(peer) in (None, ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR)


async def test_calls_beyond_the_limit_end_the_connection() -> None:
    async with watched() as server, connected(server.port) as peer:
        await peer.send(*(peer.headers(stream, request("Wait")) for stream in range(1, 2 * 1024 + 3, 2)))
        await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)

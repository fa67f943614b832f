"""Calls that are begun and taken back: they cost the server more than the client (CVE-2023-44487, CVE-2025-8671)."""

from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from time import monotonic

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served, until
from conformance.safety.attacks import code_of
from conformance.safety.watch import watched
from yais.clients.siege.chaos.h2 import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
    literal,
    number,
)

# In a few bytes each, so that the server reads them all at once: who hangs up with something unread may not be heard.
AT_A_TIME = 100
# What a client may take back at once, and in each second after that.
ALLOWANCE = 10_000
REFILL = 2_000
PATIENCE_S = 30.0

Ending = Callable[[int], bytes]


def calls(peer: Peer, method: str, end: Ending, index: int) -> bytes:
    """Bytes of so many calls that go on, each with its `end`; all but the first refer to its fields."""
    streams = range(2 * AT_A_TIME * index + 1, 2 * AT_A_TIME * (index + 1) + 1, 2)
    first = peer.encoder.encode(request(method))
    others = peer.encoder.encode(request(method))
    blocks = chain((first,), repeat(others))
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, fields) + end(stream)
        for stream, fields in zip(streams, blocks, strict=False)
    )


def cancel(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, number(ErrorCodes.CANCEL))


class HungUpError(Exception):
    """The server has hung up."""


async def settle(peer: Peer) -> None:
    try:
        await peer.settle()
    except AssertionError as error:
        if code_of(peer) is None:
            raise
        raise HungUpError from error


async def go_on(peer: Peer, method: str, end: Ending) -> ErrorCodes | None:
    """Goes on, round by round, to twice of what is allowed; what the server has said by then.

    Each round waits for what comes of the one before, so that nothing is under way when the server hangs up.
    """
    begun, index = monotonic(), 0
    with suppress(HungUpError):
        while index * AT_A_TIME < 2 * (ALLOWANCE + REFILL * (monotonic() - begun)):
            await peer.send(calls(peer, method, end, index))
            await settle(peer)
            index += 1
            if monotonic() - begun > PATIENCE_S:
                pytest.skip("this machine is too slow for more than the server allows")
    return code_of(peer)


async def idle(server: Served) -> None:
    """Nothing of the attack is left running."""
    await until(lambda: server.state()["waiting"] == 0)


@pytest.mark.parametrize("method", ["Hold", "Deaf"], ids=["raw", "coroutine"])
async def test_calls_that_are_taken_back_are_limited(method: str) -> None:
    async with watched() as server, connected(server.port) as peer:
        assert await go_on(peer, method, cancel) in (ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.INTERNAL_ERROR)
        await idle(server)


MADE = {
    "a window past the largest": lambda stream: frame(WINDOW_UPDATE, 0, stream, number(2**31 - 1)),
    "trailers that end nothing": lambda stream: frame(HEADERS, END_HEADERS, stream, literal(b"x", b"y")),
    "trailers with a pseudo-field": lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x84"),
}


@pytest.mark.parametrize("end", MADE.values(), ids=MADE)
async def test_calls_that_the_server_is_made_to_reset_are_limited(end: Ending) -> None:
    async with watched() as server, connected(server.port) as peer:
        assert await go_on(peer, "Deaf", end) is ErrorCodes.ENHANCE_YOUR_CALM
        await idle(server)


async def test_clients_that_cancel_now_and_then_are_served() -> None:
    """2,000 in a row, as a pool that shuts down may do."""
    async with watched() as server, connected(server.port) as peer:
        for index in range(2000 // AT_A_TIME):
            await peer.send(calls(peer, "Deaf", cancel, index))
        await peer.expect_service(10_001)
        await idle(server)

"""RFC 9113 deprecates priorities: whatever is said about them means nothing, but stays legal."""

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, answer
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PRIORITY,
    WITH_PRIORITY,
    frame,
    message,
    number,
)

EXCLUSIVE = 0x8000_0000


def priority(stream: int, depends_on: int = 0, weight: int = 15) -> bytes:
    return frame(PRIORITY, 0, stream, number(depends_on) + bytes((weight,)))


@pytest.mark.parametrize("stream", [1, 3, 2, 2**31 - 1], ids=["open", "idle", "even", "largest"])
@pytest.mark.parametrize("depends_on", [0, 1, 5, EXCLUSIVE, EXCLUSIVE | 2**31 - 1])
async def test_a_priority_of_any_stream_is_ignored(peer: Peer, stream: int, depends_on: int) -> None:
    await peer.send(peer.headers(1, request()), priority(stream, depends_on ^ (stream == depends_on)))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")
    await peer.expect_service(5)


async def test_a_priority_of_a_closed_stream_is_ignored(peer: Peer) -> None:
    await peer.expect_service(1)
    await peer.send(priority(1, 3))
    await peer.expect_service(3)


async def test_a_circle_of_dependencies_is_ignored(peer: Peer) -> None:
    await peer.send(priority(1, 3), priority(3, 5), priority(5, 1), priority(1, EXCLUSIVE | 5))
    await peer.expect_service(1)


@pytest.mark.parametrize("depends_on", [0, 7, EXCLUSIVE, EXCLUSIVE | 7])
async def test_a_call_may_come_with_a_priority(peer: Peer, depends_on: int) -> None:
    block = number(depends_on) + b"\xff" + peer.encoder.encode(request())
    await peer.send(frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, block))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")


async def test_headers_too_short_for_their_priority_are_refused(peer: Peer) -> None:
    await peer.send(frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, bytes(4)))
    await peer.expect_goaway(ErrorCodes.FRAME_SIZE_ERROR)


async def test_a_servers_priorities_are_ignored(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(priority(1, 2), priority(3, 1), priority(2, 1), answer(peer))
    assert await call == b"hello"

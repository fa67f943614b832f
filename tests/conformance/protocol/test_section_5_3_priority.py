"""RFC 9113 deprecates priorities: whatever is said about them means nothing, but stays legal."""

import pytest

from conformance.protocol.fields import request
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import (
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


def priority(stream: int, depends_on: int) -> bytes:
    return frame(PRIORITY, 0, stream, number(depends_on) + b"\x0f")


@pytest.mark.parametrize("stream", [1, 3], ids=["open", "idle"])
async def test_a_priority_of_any_stream_is_ignored(peer: Peer, stream: int) -> None:
    await peer.send(peer.headers(1, request()), priority(stream, EXCLUSIVE | 5))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")
    await peer.expect_service(5)


async def test_a_call_may_come_with_a_priority(peer: Peer) -> None:
    block = number(EXCLUSIVE | 7) + b"\xff" + peer.encoder.encode(request())
    await peer.send(frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, block))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.answer(1)).data == message(b"hello")

"""Conversations that are cut, doubled, swapped and garbled: whatever comes of it, the server goes on."""

import asyncio
from random import Random

import pytest

from conformance.protocol.fields import request
from conformance.protocol.peer import Peer
from conformance.protocol.serving import Served, until
from conformance.safety.watch import watched
from yais.clients.siege.chaos.h2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    PING,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    frame,
    message,
    number,
    settings,
)

CONVERSATIONS = 300


def frames(peer: Peer) -> list[bytes]:
    """What a client may say, one of each kind and more."""
    return [
        settings({3: 100, 4: 1_000_000}),
        peer.call(1),
        frame(WINDOW_UPDATE, 0, 0, number(10_000)),
        peer.headers(3, request("Chat")),
        frame(DATA, 0, 3, message(b"one") + message(b"two")[:4]),
        frame(PING, payload=b"whatever"),
        frame(DATA, 0x8, 3, b"\x03" + message(b"two")[4:] + bytes(3)),
        peer.call(5, "Large", b"100000"),
        frame(RST_STREAM, 0, 5, number(8)),
        peer.headers(3, [("x-last", "1")], END_HEADERS | END_STREAM),
        peer.call(7, "Wait"),
    ]


def truncated(pieces: list[bytes], random: Random) -> bytes:
    data = b"".join(pieces)
    return data[: random.randrange(len(data))]


def overlapping(pieces: list[bytes], random: Random) -> bytes:
    """Each frame begins before the last has ended, or after a gap of bytes that are none."""
    data = b""
    for piece in pieces:
        data = data[: max(0, len(data) - random.randrange(12))] + bytes(random.randrange(2)) + piece
    return data


def shuffled(pieces: list[bytes], random: Random) -> bytes:
    return b"".join(random.sample(pieces * 2, len(pieces) * 2))


def interleaved(pieces: list[bytes], random: Random) -> bytes:
    """Two frames at a time, the second inside of the first."""
    position = random.randrange(9)
    return b"".join(
        first[:position] + second + first[position:] for first, second in zip(pieces, reversed(pieces), strict=True)
    )


def garbled(pieces: list[bytes], random: Random) -> bytes:
    data = bytearray(b"".join(pieces))
    for _ in range(random.randrange(1, 6)):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def wrong_lengths(pieces: list[bytes], random: Random) -> bytes:
    return b"".join(random.randrange(64).to_bytes(3) + piece[3:] for piece in pieces)


def noise(pieces: list[bytes], random: Random) -> bytes:
    return pieces[0] + random.randbytes(random.randrange(2000))


@pytest.mark.parametrize(
    "spoil",
    [truncated, overlapping, shuffled, interleaved, garbled, wrong_lengths, noise],
    ids=lambda spoil: spoil.__name__,
)
async def test_spoilt_conversations_leave_nothing_behind(spoil) -> None:  # noqa: ANN001
    async with watched() as server:
        before = server.state()
        for seed in range(CONVERSATIONS):
            await converse(server, spoil, Random(seed))
        await until(lambda: server.state() == before)


async def converse(server: Served, spoil, random: Random) -> None:  # noqa: ANN001
    """One connection; every other is aborted without reading what came."""
    peer = await Peer.connect(server.port)
    data = PREFACE + spoil(frames(peer), random)
    position = random.randrange(len(data))
    await peer.send(data[:position])
    await asyncio.sleep(0)
    await peer.send(data[position:])
    if random.random() < 0.5:
        peer.abort()
    peer.close()

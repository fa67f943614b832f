"""The other way round: whatever a server does, its client's process stays small and goes on with its other calls."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hyperframe.frame import HeadersFrame

from conformance.protocol.hostile import OK, answer
from conformance.protocol.line import listening
from conformance.protocol.peer import Peer
from conformance.safety.attacks import portion, reading
from conformance.safety.watch import LITTLE, MB, CanaryBeside, Clock, assert_unharmed, pool
from yais.clients.siege.chaos.h2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LARGEST_WINDOW,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    data,
    frame,
    message,
    number,
    settings,
)

Attack = Callable[[Peer], Awaitable[None]]
# Long enough for thousands of frames.
ATTACK_S = 0.3
LIMIT = 4 * MB


@asynccontextmanager
async def server_of(attack: Attack) -> AsyncIterator[tuple[int, list[Peer]]]:
    """The port of a server that does this to every connection, and those that it has had."""
    peers: list[Peer] = []
    tasks: list[asyncio.Task[None]] = []

    async def serve(peer: Peer) -> None:
        with suppress(EOFError, ConnectionError, TimeoutError, AssertionError):
            await attack(peer)

    def accept(sock: socket.socket) -> None:
        peers.append(Peer(sock))
        tasks.append(asyncio.create_task(serve(peers[-1])))

    async with listening(accept) as port:
        yield port, peers
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in peers:
            peer.close()


async def suffer(attack: Attack, kind: str = "unary", grows: int = LITTLE, seconds: float = ATTACK_S) -> int:
    """Has a client attacked for a while, and sees how it bears it; gives the number of its connections."""
    good = pool.take({})
    pool.give_back({}, good)
    async with server_of(attack) as (port, peers):
        canary = CanaryBeside("conformance.safety.caller", kind, port, good.server.port)
        clock = Clock(canary.process.pid)
        canary.begin()
        try:
            await asyncio.sleep(seconds)
            grown, slowdown = canary.grown, clock.slowdown
            assert_unharmed(await canary.end(), slowdown)
        finally:
            status = canary.stop()
    assert status == 0
    assert grown <= grows, f"the client grew by {grown / MB:.1f} MB"
    return len(peers)


def endless(frame: bytes) -> Attack:
    async def attack(peer: Peer) -> None:
        await peer.shake_hands(is_client=False)
        async with reading(peer):
            while not peer.is_over:
                await peer.send(portion(frame))
                await asyncio.sleep(0)

    return attack


FLOODS = {
    "PING": frame(PING, payload=bytes(8)),
    "SETTINGS": settings(),
    "PING's answer": frame(PING, 0x1, payload=bytes(8)),
    "unknown": frame(0x42),
    "GOAWAY": frame(GOAWAY, payload=number(LARGEST_WINDOW) + number(0)),
    "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, number(1)),
}


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS)
async def test_floods_do_no_harm(frame: bytes) -> None:
    await suffer(endless(frame))


def answering(make: Callable[[Peer, int], bytes], values: dict[int, int] | None = None) -> Attack:
    """Sends `make(peer, stream)` for each call."""

    async def attack(peer: Peer) -> None:
        await peer.shake_hands(values, is_client=False)
        while True:
            stream = (await peer.expect(HeadersFrame)).stream_id
            await peer.send(make(peer, stream))

    return attack


BOMB = message(gzip.compress(bytes(LIMIT)), 1)
EARLY = b"\x08\x03103\x00\x01x\x01y"

ANSWERS: dict[str, Callable[[Peer, int], bytes]] = {
    "no status": lambda peer, stream: peer.headers(stream, OK, END_HEADERS | END_STREAM),
    "a reset": lambda peer, stream: frame(RST_STREAM, 0, stream, number(2)),
    "a refusal": lambda peer, stream: frame(RST_STREAM, 0, stream, number(7)),
    "a huge length": lambda peer, stream: (
        peer.headers(stream, OK) + frame(DATA, 0, stream, message(b"", length=2**32 - 1))
    ),
    "a length that nothing follows": lambda peer, stream: (
        peer.headers(stream, OK) + frame(DATA, 0, stream, message(b"", length=LIMIT))
    ),
    "a bomb of references": lambda peer, stream: (
        frame(HEADERS, 0, stream, peer.encoder.encode([*OK, ("x-bomb", "x" * 4000)]))
        + frame(CONTINUATION, 0, stream, b"\xbe" * 16384) * 6
        + frame(CONTINUATION, END_HEADERS, stream)
    ),
    "a block without end": lambda peer, stream: (
        frame(HEADERS, 0, stream, peer.encoder.encode(OK)) + frame(CONTINUATION, 0, stream, b"\x00\x01x\x01y" * 99) * 99
    ),
    "early hints without end": lambda peer, stream: frame(HEADERS, END_HEADERS, stream, EARLY) * 5000,
    "ten compressed bombs": lambda peer, stream: (
        peer.headers(stream, [*OK, ("grpc-encoding", "gzip")]) + data(stream, BOMB * 10, 0)
    ),
    "GOAWAY": lambda peer, stream: frame(GOAWAY, payload=number(0) + number(0)),
    "noise": lambda peer, stream: bytes(range(256)) * 10,
    "another stream's answer": lambda peer, stream: answer(peer, stream + 2),
}


@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
async def test_bad_answers_do_no_harm(make: Callable[[Peer, int], bytes]) -> None:
    """Four calls at a time may each have an answer of the largest size, and the bytes that it is made from."""
    await suffer(answering(make), grows=8 * LIMIT)


async def test_answers_without_end_wait_until_they_are_read() -> None:
    """The windows of four calls, and of their connection."""

    async def attack(peer: Peer) -> None:
        await peer.shake_hands(is_client=False)
        stream = (await peer.expect(HeadersFrame)).stream_id
        await peer.send(peer.headers(stream, OK))
        async with reading(peer):
            for _ in range(2**20 // 16384 - 1):
                await peer.send(frame(DATA, 0, stream, message(bytes(16379))))
            await asyncio.sleep(10)

    await suffer(attack, "stream", grows=4 * MB + LITTLE)


async def test_tiny_answers_without_end_are_counted_for_what_they_cost() -> None:
    def make(peer: Peer, stream: int) -> bytes:
        return peer.headers(stream, OK) + data(stream, message(b"x") * (2**20 // 6), 0)

    await suffer(answering(make), "stream", grows=64 * MB)


async def test_requests_that_a_server_does_not_read_are_let_go_with_their_deadlines() -> None:
    """Some hundred calls of 1 MB, which last for 30 ms each."""

    async def attack(peer: Peer) -> None:
        await peer.shake_hands({3: LARGEST_WINDOW, 4: LARGEST_WINDOW}, is_client=False)
        await peer.send(frame(WINDOW_UPDATE, 0, 0, number(2**30)))
        await asyncio.sleep(10)

    await suffer(attack, "upload", grows=16 * MB + LITTLE)


async def test_requests_without_a_window_are_let_go_with_their_deadlines() -> None:
    async def attack(peer: Peer) -> None:
        await peer.shake_hands({3: LARGEST_WINDOW, 4: 0}, is_client=False)
        async with reading(peer):
            await asyncio.sleep(10)

    await suffer(attack, "upload", grows=16 * MB + LITTLE)


async def silent(peer: Peer) -> None:
    await asyncio.sleep(10)


async def gone(peer: Peer) -> None:
    peer.close()


async def gone_after_settings(peer: Peer) -> None:
    await peer.shake_hands(is_client=False)
    peer.close()


async def draining_at_once(peer: Peer) -> None:
    await peer.send(settings(), frame(GOAWAY, payload=bytes(8)))
    await silent(peer)


@pytest.mark.parametrize("attack", [silent, gone, gone_after_settings, draining_at_once])
async def test_servers_that_are_none_are_not_stormed(attack: Attack) -> None:
    assert await suffer(attack, seconds=0.5) <= 15

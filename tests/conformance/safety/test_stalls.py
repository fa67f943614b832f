"""Clients that ask for much and take little: answers wait within bounds, and not for ever."""

import asyncio

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame

from conformance.protocol.fields import request
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import until
from conformance.safety.watch import MB, memory, watched
from yais.clients.siege.chaos.h2 import (
    DATA,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    WINDOW_UPDATE,
    frame,
    message,
    number,
    settings,
)

LARGE = 2 * MB
STALL_MS = 400
UNIMPLEMENTED = 12
HELD = 16 * MB
# What may be held, as much again in buffers of sockets and loops, and what comes and goes.
BOUND = 2 * HELD + 16 * MB

options = {"yais__stall_timeout_ms": STALL_MS, "yais__max_held_bytes": HELD}


def calls(peer: Peer, count: int, size: int = LARGE) -> bytes:
    return b"".join(peer.call(2 * index + 1, "Large", b"%d" % size) for index in range(count))


async def test_a_client_without_a_window_is_held_little_for_and_given_up() -> None:
    """200 answers of 2 MB each."""
    async with watched(BOUND, **options) as server, connected(server.port, {INITIAL_WINDOW_SIZE: 0}) as peer:
        await peer.send(calls(peer, 200))
        assert (await peer.expect(RstStreamFrame)).error_code != ErrorCodes.NO_ERROR
        await asyncio.sleep(3 * STALL_MS / 1000)
        await peer.send(peer.call(1001, "Unknown"))
        assert (await peer.answer(1001)).status == UNIMPLEMENTED


async def test_a_client_with_a_tiny_window_is_served_byte_by_byte() -> None:
    """It is slow, but it takes something: that is no stall."""
    async with watched(BOUND, **options) as server, connected(server.port, {INITIAL_WINDOW_SIZE: 1}) as peer:
        await peer.send(calls(peer, 1, 20))
        for _ in range(24):
            await asyncio.sleep(STALL_MS / 1000 / 10)
            await peer.send(frame(WINDOW_UPDATE, 0, 1, number(1)))
        answer = await peer.answer(1)
        assert (answer.status, len(answer.data)) == (0, 25)


async def deaf(port: int) -> Peer:
    """A client that offers the largest windows, and never reads."""
    peer = await Peer.connect(port)
    await peer.send(PREFACE, settings({INITIAL_WINDOW_SIZE: 2**31 - 1}), frame(WINDOW_UPDATE, 0, 0, number(2**30)))
    return peer


async def test_a_client_that_never_reads_is_held_little_for_and_given_up() -> None:
    async with watched(BOUND, **options) as server:
        before = server.state()["connections"]
        peer = await deaf(server.port)
        peer.push(calls(peer, 200))
        await asyncio.sleep(0.1)
        assert server.state()["connections"] == before + 1
        await until(lambda: server.state()["connections"] == before)
        peer.close()


async def test_a_stream_that_nobody_reads_waits_and_is_given_up() -> None:
    """Its method is held up by `write`, and cancelled in the end."""
    async with watched(BOUND, **options) as server:
        before = server.state()
        peer = await deaf(server.port)
        peer.push(b"".join(peer.call(stream, "Pour", b"1000000") for stream in range(1, 41, 2)))
        await asyncio.sleep(0.1)
        assert server.state()["tasks"] > before["tasks"]
        await until(lambda: server.state() == before)
        peer.close()


async def test_questions_of_a_client_that_never_reads_are_not_answered_without_end() -> None:
    """PING and SETTINGS want answers, which pile up; such a client is not read any more, or sent away."""
    async with watched(**options) as server:
        peer = await deaf(server.port)
        for _ in range(200):
            peer.push((frame(PING, payload=bytes(8)) + settings()) * 1000)
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        peer.close()


async def test_many_clients_that_never_read_are_given_up() -> None:
    """The limit of what is held is one for each of them."""
    async with watched(10 * HELD + BOUND, **options) as server:
        before = server.state()["connections"]
        peers = [await deaf(server.port) for _ in range(10)]
        for peer in peers:
            peer.push(calls(peer, 20))
        await until(lambda: server.state()["connections"] == before)
        for peer in peers:
            peer.close()


async def test_memory_of_answers_that_were_not_taken_comes_back() -> None:
    async with watched(BOUND, **options) as server:
        sizes = []
        for _ in range(5):
            async with connected(server.port, {INITIAL_WINDOW_SIZE: 0}) as peer:
                await peer.send(calls(peer, 20))
                await peer.settle()
            await until(lambda: server.state()["connections"] <= 2)
            sizes.append(memory(server.process.pid, "VmRSS"))
        assert max(sizes) - sizes[0] < LARGE


@pytest.mark.parametrize("method", ["Echo", "Copy", "Chat"])
async def test_a_client_that_sends_and_takes_nothing_is_held_little_for(method: str) -> None:
    """Large requests, whose answers are as large."""
    async with watched(BOUND, **options) as server, connected(server.port, {INITIAL_WINDOW_SIZE: 0}) as peer:
        body = message(bytes(MB - 5))
        frames = [body[start : start + 16384] for start in range(0, MB, 16384)]
        for stream in range(1, 201, 2):
            if peer.is_over:
                break
            await peer.send(peer.headers(stream, request(method)))
            await peer.send(*(frame(DATA, 0, stream, reply) for reply in frames), frame(DATA, END_STREAM, stream))
        await asyncio.sleep(3 * STALL_MS / 1000)

"""Clients that take their time, or say nothing at all: they have so much of it and no more."""

import asyncio
import socket
import ssl

import pytest
from hyperframe.frame import PingFrame

from conformance.protocol.fields import request
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served, until
from conformance.safety.watch import EACH, LITTLE, watched
from yais.clients.siege.chaos.h2 import CONTINUATION, DATA, END_HEADERS, HEADERS, PREFACE, frame, message, settings

LIMIT_MS = 300
LIMIT_S = LIMIT_MS / 1000
DEADLINE_EXCEEDED = 4
# The head of a record, and that of a message which it does not hold.
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

options = {"grpc__server_handshake_timeout_ms": LIMIT_MS, "yais__message_timeout_ms": LIMIT_MS}


async def lasts(peer: Peer) -> float:
    """How long the connection does."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await peer.expect_end()
    return loop.time() - begun


@pytest.mark.parametrize(
    "beginning",
    [b"", PREFACE[:10], PREFACE, PREFACE + settings()[:5], PREFACE + settings({4: 1})[:12]],
    ids=["nothing", "half a preface", "a preface", "half a head", "half SETTINGS"],
)
async def test_a_client_that_does_not_finish_its_handshake_is_hung_up_on(beginning: bytes) -> None:
    async with watched(**options) as server:
        peer = await Peer.connect(server.port)
        await peer.send(beginning)
        assert LIMIT_S * 0.9 < await lasts(peer) < LIMIT_S + 2
        peer.close()


@pytest.mark.parametrize(
    "beginning", [b"", CLIENT_HELLO[:3], CLIENT_HELLO], ids=["nothing", "half a head", "half a hello"]
)
async def test_a_client_that_does_not_finish_its_tls_handshake_is_hung_up_on(beginning: bytes) -> None:
    async with watched(**options, test__tls=True) as server:
        peer = await Peer.connect(server.tls_ports[0])
        await peer.write(beginning)
        assert LIMIT_S * 0.9 < await lasts(peer) < LIMIT_S + 2
        peer.close()


async def test_a_client_that_is_silent_behind_tls_is_hung_up_on() -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    async with watched(2 * LITTLE, **options, test__tls=True) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.tls_ports[0], ssl=context)
        async with asyncio.timeout(LIMIT_S + 2):
            await reader.read()
        writer.close()


async def test_a_handshake_byte_by_byte_takes_no_longer() -> None:
    async with watched(**options) as server:
        peer = await Peer.connect(server.port)
        ending = asyncio.create_task(lasts(peer))
        for byte in PREFACE + settings():
            await peer.send(bytes((byte,)))
            await asyncio.sleep(LIMIT_S / 10)
        assert await ending < LIMIT_S + 2
        peer.close()


async def test_headers_byte_by_byte_are_not_waited_for() -> None:
    """Nobody else's frames can come before they end, so the whole connection goes."""
    async with watched(**options) as server, connected(server.port) as peer:
        ending = asyncio.create_task(lasts(peer))
        block = peer.encoder.encode([*request(), ("x-filler", "x" * 100)])
        await peer.send(frame(HEADERS, END_HEADERS, 1, b"", length=len(block)))
        for byte in block:
            await peer.send(bytes((byte,)))
            await asyncio.sleep(LIMIT_S / 10)
            if ending.done():
                break
        assert LIMIT_S * 0.9 < await ending < LIMIT_S + 2


async def test_a_block_that_is_not_continued_is_not_waited_for() -> None:
    async with watched(**options) as server, connected(server.port) as peer:
        block = peer.encoder.encode(request())
        await peer.send(frame(HEADERS, 0, 1, block[:5]), frame(CONTINUATION, 0, 1, block[5:9]))
        assert LIMIT_S * 0.9 < await lasts(peer) < LIMIT_S + 2


@pytest.mark.parametrize("method", ["Echo", "Copy", "Count", "Chat"])
@pytest.mark.parametrize("begun", [b"\0", message(b"hello", length=1000)], ids=["half a prefix", "half a message"])
async def test_a_message_that_is_not_finished_is_not_waited_for(method: str, begun: bytes) -> None:
    async with watched(**options) as server, connected(server.port) as peer:
        await peer.send(peer.headers(1, request(method)), frame(DATA, 0, 1, begun))
        assert (await peer.answer(1)).status == DEADLINE_EXCEEDED
        await peer.expect_service(3)


async def test_a_unary_request_that_does_not_begin_is_not_waited_for() -> None:
    async with watched(**options) as server, connected(server.port) as peer:
        await peer.send(peer.headers(1, request()))
        assert (await peer.answer(1)).status == DEADLINE_EXCEEDED


async def test_a_message_byte_by_byte_is_not_waited_for() -> None:
    async with watched(**options) as server, connected(server.port) as peer:
        await peer.send(peer.headers(1, request()))
        answer = asyncio.create_task(peer.answer(1))
        for byte in message(bytes(1000)):
            await peer.send(frame(DATA, 0, 1, bytes((byte,))))
            await asyncio.sleep(LIMIT_S / 20)
            if answer.done():
                break
        assert (await answer).status == DEADLINE_EXCEEDED
        await peer.expect_service(3)


async def test_a_stream_may_be_silent_between_its_messages() -> None:
    async with watched(**options) as server, connected(server.port) as peer:
        await peer.send(peer.headers(1, request("Chat")), frame(DATA, 0, 1, message(b"first")))
        await asyncio.sleep(3 * LIMIT_S)
        await peer.send(frame(DATA, 0x1, 1, message(b"second")))
        answer = await peer.answer(1)
        assert (answer.data, answer.status) == (message(b"first") + message(b"second"), 0)


async def test_many_slow_clients_are_all_hung_up_on() -> None:
    """300 connections that never end their headers."""
    async with watched(300 * EACH, **options) as server:
        before = server.state()
        peers = [await half_a_call(server) for _ in range(300)]
        await until(lambda: server.state() == before)
        for peer in peers:
            peer.close()


async def half_a_call(server: Served) -> Peer:
    peer = await Peer.connect(server.port)
    await peer.send(PREFACE, settings(), frame(HEADERS, 0, 1, peer.encoder.encode(request())))
    return peer


async def test_a_client_that_went_away_without_a_word_is_found_out() -> None:
    """Its TCP is up, but nobody answers the PINGs of the keepalive."""
    keepalive = {"grpc__keepalive_time_ms": LIMIT_MS, "grpc__keepalive_timeout_ms": LIMIT_MS}
    async with watched(**keepalive, grpc__keepalive_permit_without_calls=1) as server, connected(server.port) as peer:
        assert LIMIT_S < await lasts(peer) < 3 * LIMIT_S + 2
        assert [frame for frame in peer.seen if isinstance(frame, PingFrame)]


async def test_silent_connections_do_not_keep_others_out() -> None:
    """500 that are only connected, while the canary is served."""
    async with watched(500 * EACH, **options) as server:
        before = server.state()["connections"]
        sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
        await until(lambda: server.state()["connections"] == before)
        for sock in sockets:
            sock.close()

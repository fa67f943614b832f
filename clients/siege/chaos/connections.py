"""Attacks with connections: never read, half open, made and dropped, or not of HTTP/2 at all."""

import asyncio
from collections.abc import Callable
from random import Random

from yais.clients.siege.chaos import frames
from yais.clients.siege.chaos.peer import METHOD, Peer
from yais.clients.siege.chaos.scene import Scene

_HOLD_S = 0.5
_HEARING_S = 0.05
_LARGEST_GARBAGE = 4096

# A ClientHello of TLS 1.2 with one cipher, as far as a server reads it that expects none (RFC 5246, 7.4.1.2).
_CLIENT_HELLO = bytes.fromhex("160301002d010000290303") + bytes(32) + bytes.fromhex("000002002f0100")


async def never_reads(scene: Scene) -> None:
    """Requests on connections whose windows are closed and whose sockets are never read."""

    async def hold(random: Random) -> None:
        shot = scene.small
        async with scene.peer() as peer:
            peer.read_nothing()
            peer.greet({frames.INITIAL_WINDOW_SIZE: 0})
            for _ in range(random.randint(1, 8)):
                if peer.has_room(shot):
                    scene.ledger.left(shot)
                    await peer.send(peer.request(peer.open_stream(), shot))
            await asyncio.sleep(min(random.uniform(0, _HOLD_S), scene.left))
            _leave(peer, random)

    await scene.repeat(hold, workers=max(1, scene.load // 8))


async def half_open(scene: Scene) -> None:
    """Connections that stop somewhere between the first byte and the end of a request, and stay."""

    async def hold(random: Random) -> None:
        async with scene.peer() as peer:
            await peer.send(random.choice(_BEGINNINGS)(scene, peer))
            if random.random() < 0.3:
                peer.end_writing()
            await asyncio.sleep(min(random.uniform(0, _HOLD_S), scene.left))
            _leave(peer, random)

    await scene.repeat(hold, workers=scene.load)


async def churn(scene: Scene) -> None:
    """Connections made and dropped: at once, after a greeting, after a request, after its answer."""

    async def visit(random: Random) -> None:
        async with scene.peer() as peer:
            stage = random.randrange(4)
            if stage > 0:
                peer.greet()
            if stage == 2:
                scene.ledger.left(scene.small)
                await peer.send(peer.request(peer.open_stream(), scene.small))
            if stage == 3:
                peer.read()
                await scene.ask(peer, scene.small)
            _leave(peer, random)

    await scene.repeat(visit, workers=8)


async def garbage(scene: Scene) -> None:
    """TLS, HTTP/1, wrong prefaces, random bytes, and random frames behind a right preface."""

    async def talk(random: Random) -> None:
        async with scene.peer() as peer:
            await peer.send(random.choice(_GARBAGE)(random))
            try:
                await asyncio.wait_for(peer.heard(), _HEARING_S)
            except TimeoutError:
                _leave(peer, random)

    await scene.repeat(talk, workers=8)


def _leave(peer: Peer, random: Random) -> None:
    """By RST or by FIN."""
    if random.random() < 0.5:
        peer.reset()
    else:
        peer.end_writing()


def _greeted(peer: Peer, *pieces: bytes) -> bytes:
    return b"".join((frames.PREFACE, frames.settings({}), *pieces))


def _headers(scene: Scene, peer: Peer) -> bytes:
    return frames.headers(peer.open_stream(), METHOD)


def _half_message(scene: Scene, peer: Peer) -> bytes:
    stream = peer.open_stream()
    message = frames.message(scene.small.body)
    return frames.headers(stream, METHOD) + frames.frame(frames.DATA, 0, stream, message[: len(message) // 2])


_BEGINNINGS: tuple[Callable[[Scene, Peer], bytes], ...] = (
    lambda scene, peer: b"P",
    lambda scene, peer: frames.PREFACE[:12],
    lambda scene, peer: frames.PREFACE,
    lambda scene, peer: _greeted(peer),
    lambda scene, peer: _greeted(peer, _headers(scene, peer)[:5]),
    lambda scene, peer: _greeted(peer, _headers(scene, peer)[:20]),
    lambda scene, peer: _greeted(peer, _headers(scene, peer)),
    lambda scene, peer: _greeted(peer, _half_message(scene, peer)),
)


def _random_frames(random: Random) -> bytes:
    """Of known and unknown kinds; some lie about their length."""
    pieces = [frames.PREFACE, frames.settings({})]
    for _ in range(random.randint(1, 20)):
        payload = random.randbytes(random.randrange(64))
        length = len(payload) if random.random() < 0.9 else random.randrange(2**24)
        pieces.append(frames.frame(random.randrange(12), random.randrange(256), random.randrange(16), payload, length))
    return b"".join(pieces)


_GARBAGE: tuple[Callable[[Random], bytes], ...] = (
    lambda random: _CLIENT_HELLO,
    lambda random: b"GET / HTTP/1.1\r\nHost: chaos\r\n\r\n",
    lambda random: b"POST /v2/models HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n{",
    lambda random: b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n" + frames.settings({}),
    lambda random: random.randbytes(random.randint(1, _LARGEST_GARBAGE)),
    _random_frames,
)

"""Attacks that take back what they ask for, or give no time for it."""

import asyncio
from random import Random

from yais.clients.siege.chaos import frames
from yais.clients.siege.chaos.peer import METHOD, Peer
from yais.clients.siege.chaos.scene import CANCELLED, Caller, Scene

# Of one write: what a server reads at a time.
_AT_ONCE = 100
_WRITES = 200
_SHORT_S = 0.005
_LIMITS = ("1u", "1n", "0n", "8760H", "99999999H", "-1S", "soon")
_LONG = ("8760H", "99999999H")


async def cancel(scene: Scene) -> None:
    """Calls that are cancelled before anything was sent, between two frames of the message, or after all of it."""
    async with scene.caller() as caller:

        async def one(random: Random) -> None:
            when = random.choice(("before", "during", "after"))
            if when == "during":
                await _half(scene, random)
            else:
                await _taken_back(scene, caller, 0.0 if when == "before" else random.uniform(0, _SHORT_S))

        await scene.repeat(one)


async def storm(scene: Scene) -> None:
    """RST_STREAM behind each request, up to 20,000 times a connection (CVE-2023-44487)."""

    async def flood(random: Random) -> None:
        async with scene.peer() as peer:
            peer.greet()
            peer.read()
            for _ in range(random.randint(1, _WRITES)):
                await peer.send(_burst(scene, peer, random))
                # The server's own words, such as that it has had enough, are to be read.
                await asyncio.sleep(0)
                scene.ledger.acts += 1

    await scene.repeat(flood)


async def timeouts(scene: Scene) -> None:
    """Deadlines of 0, 1 us, already past, a year, 11,408 years, and such as are none."""
    async with scene.caller() as caller:

        async def one(random: Random) -> None:
            if random.random() < 0.3:
                await caller.call(scene.small, random.choice((0.0, -1.0, 1e-6)))
            else:
                await _timed(scene, random.choice(_LIMITS))

        await scene.repeat(one)


async def _half(scene: Scene, random: Random) -> None:
    """Nothing that the server could count: the message is never whole."""
    async with scene.peer() as peer:
        peer.greet()
        peer.read()
        message = frames.message(scene.small.body)
        part = message[: random.randrange(len(message))]
        stream = peer.open_stream()
        await peer.send(frames.headers(stream, METHOD) + frames.frame(frames.DATA, 0, stream, part))
        await asyncio.sleep(random.uniform(0, _SHORT_S))
        await peer.send(frames.reset(stream))


async def _taken_back(scene: Scene, caller: Caller, after: float) -> None:
    call, ending = caller.begin(scene.right, scene.patience)
    if after:
        await asyncio.wait([ending], timeout=after)
    call.cancel(CANCELLED, "cancelled by chaos")
    await ending


def _burst(scene: Scene, peer: Peer, random: Random) -> bytes:
    """Calls that begin and are reset, about half of them with their whole message."""
    pieces, shot = [], scene.small
    for _ in range(_AT_ONCE):
        stream = peer.open_stream()
        if random.random() < 0.5 and peer.has_room(shot):
            pieces.append(peer.request(stream, shot))
            scene.ledger.left(shot)
        else:
            pieces.append(frames.headers(stream, METHOD))
        pieces.append(frames.reset(stream))
    return b"".join(pieces)


async def _timed(scene: Scene, limit: str) -> None:
    """A year is not to be taken for no time at all."""
    async with scene.peer() as peer:
        peer.greet()
        peer.read()
        status = await scene.ask(peer, scene.small, limit)
    if limit in _LONG and status == frames.DEADLINE_EXCEEDED:
        scene.ledger.surprises[f"DEADLINE_EXCEEDED for a timeout of {limit}"] += 1

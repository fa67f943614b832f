"""Attacks with valid requests: at odd times, taken back, or without time for an answer; and the list of all attacks."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from inspect import cleandoc
from random import Random

from yais.clients.protocol import MODEL_INFER
from yais.clients.siege.chaos import h2, protocol_attacks
from yais.clients.siege.chaos.h2 import Peer
from yais.clients.siege.chaos.invariants import OK
from yais.clients.siege.chaos.runner import CANCELLED, Attack, AttackClient, AttackContext
from yais.clients.siege.chaos.toxics import parse_toxic

# What goes through a bad network may never arrive.
_BRIEF_S = 1.0
# Between the calls of one client.
_THINK_S = 0.01
_LEAST_RATE, _MOST_RATE = 10.0, 500.0
# Calls in one write, which a server reads at once.
_BURST = 100
_WRITES = 200
_SHORT_S = 0.005
# gRPC's PROTOCOL-HTTP2.md: at most eight digits and a unit, one of H, M, S, m, u and n. The last two are no timeouts.
_TIMEOUTS = ("1u", "1n", "0n", "8760H", "99999999H", "-1S", "soon")
_LONG_TIMEOUTS = ("8760H", "99999999H")
# One of each toxic, for the connections of well-behaved clients.
_TOXICS = (
    "latency:50ms:40ms",
    "bandwidth:20KB",
    "slicer:8B:1ms",
    "reset:20ms:0.5",
    "timeout:200ms:0.5",
    "blackhole:0.3",
    "slow-close:200ms",
    "limit-data:400B:0.7",
)


async def random_rate(context: AttackContext) -> None:
    """Requests at a rate that is drawn anew, from 10 to 500 a second, every 50 to 300 ms."""
    random, loop = Random(context.seed), asyncio.get_running_loop()
    async with context.client() as client:
        # At least one, however late the client is connected.
        while not (context.is_over and context.counters.actions):
            # Evenly in the logarithm: 10 to 70 a second are drawn as often as 70 to 500.
            rate = math.exp(random.uniform(math.log(_LEAST_RATE), math.log(_MOST_RATE)))
            until = min(loop.time() + random.uniform(0.05, 0.3), context.end)
            while loop.time() < until or not context.counters.actions:
                if client.in_flight < context.load:
                    client.begin(context.valid, context.timeout)
                    context.counters.actions += 1
                # Exponential gaps are those of a Poisson process.
                await asyncio.sleep(random.expovariate(rate))
        await client.wait_idle()


async def pulses(context: AttackContext) -> None:
    """All at once as many requests as may be in flight, then silence of up to 200 ms."""
    async with context.client() as client:

        async def pulse(random: Random) -> None:
            for _ in range(context.load):
                client.begin(context.valid, context.timeout)
            await client.wait_idle()
            await asyncio.sleep(random.uniform(0, 0.2))

        await context.repeat(pulse, workers=1)


async def through(context: AttackContext) -> None:
    """Valid requests on connections that last for a few of them."""

    async def visit(random: Random) -> None:
        async with context.client(_BRIEF_S) as client:
            for _ in range(random.randint(1, 8)):
                if await client.call(context.valid, min(_BRIEF_S, context.timeout)) != OK:
                    return
                await asyncio.sleep(random.uniform(0, _THINK_S))

    await context.repeat(visit, workers=min(8, context.load))


async def cancel(context: AttackContext) -> None:
    """Calls that are cancelled before anything was sent, between two frames of the message, or after all of it."""
    async with context.client() as client:

        async def action(random: Random) -> None:
            when = random.choice(("before", "during", "after"))
            if when == "during":
                await _cancel_within(context, random)
            else:
                await _cancel_after(context, client, 0.0 if when == "before" else random.uniform(0, _SHORT_S))

        await context.repeat(action)


async def storm(context: AttackContext) -> None:
    """RST_STREAM behind each request, up to 20,000 times a connection (CVE-2023-44487)."""

    async def flood(random: Random) -> None:
        async with context.connect() as peer:
            peer.greet()
            peer.start_reading()
            for _ in range(random.randint(1, _WRITES)):
                await peer.send(_burst(context, peer, random))
                # So that what the server sends, such as GOAWAY, is read.
                await asyncio.sleep(0)
                context.counters.actions += 1

    await context.repeat(flood)


async def timeouts(context: AttackContext) -> None:
    """Deadlines of 0, 1 us, in the past, a year, 11,408 years, and values that are no deadline."""
    async with context.client() as client:

        async def action(random: Random) -> None:
            if random.random() < 0.3:
                await client.call(context.small, random.choice((0.0, -1.0, 1e-6)))
            else:
                await _call_with_timeout(context, random.choice(_TIMEOUTS))

        await context.repeat(action)


async def _cancel_within(context: AttackContext, random: Random) -> None:
    """Cancels within the message, so that the server can count nothing."""
    async with context.connect() as peer:
        peer.greet()
        peer.start_reading()
        message = h2.message(context.small.body)
        part = message[: random.randrange(len(message))]
        stream = peer.open_stream()
        await peer.send(h2.headers(stream, MODEL_INFER) + h2.frame(h2.DATA, 0, stream, part))
        await asyncio.sleep(random.uniform(0, _SHORT_S))
        await peer.send(h2.reset(stream))


async def _cancel_after(context: AttackContext, client: AttackClient, after: float) -> None:
    call, ending = client.begin(context.valid, context.timeout)
    if after:
        await asyncio.wait([ending], timeout=after)
    call.cancel(CANCELLED, "cancelled by chaos")
    await ending


def _burst(context: AttackContext, peer: Peer, random: Random) -> bytes:
    """Calls that begin and are reset, about half of them with their whole message."""
    pieces, request = [], context.small
    for _ in range(_BURST):
        stream = peer.open_stream()
        if random.random() < 0.5 and peer.has_room(request.body):
            pieces.append(peer.request(stream, request.body))
            context.counters.add_abandoned(request)
        else:
            pieces.append(h2.headers(stream, MODEL_INFER))
        pieces.append(h2.reset(stream))
    return b"".join(pieces)


async def _call_with_timeout(context: AttackContext, grpc_timeout: str) -> None:
    """One call; a timeout of a year must not be taken for none."""
    async with context.connect() as peer:
        peer.greet()
        peer.start_reading()
        status = await context.call(peer, context.small, grpc_timeout)
    if grpc_timeout in _LONG_TIMEOUTS and status == h2.DEADLINE_EXCEEDED:
        context.counters.unexpected[f"DEADLINE_EXCEEDED for a timeout of {grpc_timeout}"] += 1


def _attack(name: str, run: Callable[[AttackContext], Awaitable[None]]) -> Attack:
    return Attack(name, cleandoc(run.__doc__ or "").splitlines()[0], run)


def _through_toxic(spelled: str) -> Attack:
    text = f"Valid requests through a proxy with {spelled}."
    return Attack(f"through-{spelled.partition(':')[0]}", text, through, (parse_toxic(spelled),))


def all_attacks() -> dict[str, Attack]:
    """By name, in the order in which they run when none is chosen."""
    attacks = [
        _attack("random-rate", random_rate),
        _attack("pulses", pulses),
        _attack("cancel", cancel),
        _attack("cancel-storm", storm),
        _attack("timeouts", timeouts),
        _attack("oversize", protocol_attacks.oversize),
        _attack("truncated", protocol_attacks.truncated),
        _attack("mistyped", protocol_attacks.mistyped),
        _attack("unknown-models", protocol_attacks.unknown_models),
        _attack("never-reads", protocol_attacks.never_reads),
        _attack("half-open", protocol_attacks.half_open),
        _attack("churn", protocol_attacks.churn),
        _attack("garbage", protocol_attacks.garbage),
        *map(_through_toxic, _TOXICS),
    ]
    return {attack.name: attack for attack in attacks}

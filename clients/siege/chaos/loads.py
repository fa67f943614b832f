"""Attacks with right requests, at odd times."""

import asyncio
import math
from random import Random

from yais.clients.siege.chaos.ledger import OK
from yais.clients.siege.chaos.scene import Scene

# What is to come through a bad network may never come.
_BRIEF_S = 1.0
# Between the calls of one client.
_THOUGHT_S = 0.01
_LEAST_RATE, _MOST_RATE = 10.0, 500.0


async def random_rate(scene: Scene) -> None:
    """Requests at a rate that is drawn anew, from 10 to 500 a second, every 50 to 300 ms."""
    random, loop = Random(scene.seed), asyncio.get_running_loop()
    async with scene.caller() as caller:
        while not scene.is_over:
            rate = math.exp(random.uniform(math.log(_LEAST_RATE), math.log(_MOST_RATE)))
            until = min(loop.time() + random.uniform(0.05, 0.3), scene.end)
            while loop.time() < until:
                if caller.in_flight < scene.load:
                    caller.begin(scene.right, scene.patience)
                    scene.ledger.acts += 1
                await asyncio.sleep(random.expovariate(rate))
        await caller.idle()


async def pulses(scene: Scene) -> None:
    """All at once as many requests as may be in flight, then silence of up to 200 ms."""
    async with scene.caller() as caller:

        async def pulse(random: Random) -> None:
            for _ in range(scene.load):
                caller.begin(scene.right, scene.patience)
            await caller.idle()
            await asyncio.sleep(random.uniform(0, 0.2))

        await scene.repeat(pulse, workers=1)


async def through(scene: Scene) -> None:
    """Right requests on connections that last for a few of them."""

    async def visit(random: Random) -> None:
        async with scene.caller(_BRIEF_S) as caller:
            for _ in range(random.randint(1, 8)):
                if await caller.call(scene.right, min(_BRIEF_S, scene.patience)) != OK:
                    return
                await asyncio.sleep(random.uniform(0, _THOUGHT_S))

    await scene.repeat(visit, workers=min(8, scene.load))

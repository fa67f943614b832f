import asyncio
import errno
from dataclasses import replace

import pytest
from clients.siege.chaos.fake_server import MODEL
from clients.siege.chaos.runs import ATTACKS, canary_for, config_for, results_of, running

from yais.clients.siege.chaos.canary import CanaryError, start_canary
from yais.clients.siege.chaos.invariants import Scraper, ServerMetrics
from yais.clients.siege.chaos.runner import Attack, AttackContext, ChaosRunner


async def test_attacks_that_do_not_take_place_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rest(context: AttackContext) -> None:
        """Nothing."""

    async def fail(host: str, port: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with running() as fake:
        monkeypatch.setattr(asyncio, "open_connection", fail)
        results = await results_of(fake, [Attack("idle", "", rest), ATTACKS["garbage"]])
    assert [result.state for result in results.values()] == ["held", "unproven", "unproven"]
    assert "the attack did nothing" in results["idle"].findings[0].text
    assert "Too many open files" in results["garbage"].findings[0].text


class LateScraper(Scraper):
    """Metrics that have some of the counts only bit by bit, one each time when they are read."""

    due = counted = 0

    async def read(self) -> ServerMetrics:
        metrics = await super().read()
        if self.counted < self.due:
            self.counted += 1
        return replace(metrics, success=(metrics.success or 0.0) + self.counted)


async def test_what_a_server_counts_late_is_not_held_against_it_afterwards() -> None:
    with running() as fake:
        scraper = LateScraper("127.0.0.1", fake.metrics_port, MODEL)
        # Of the requests before the first attack.
        scraper.due = 3

        async def leave(context: AttackContext) -> None:
            context.counters.lost = context.counters.actions = 5
            scraper.due += 5

        results = await results_of(fake, [Attack("leave", "", leave), ATTACKS["pulses"]], scraper=scraper)
    assert [result.state for result in results.values()] == ["held"] * 3
    assert scraper.counted == 8


async def test_a_mistake_in_an_attack_is_no_finding() -> None:
    async def run(context: AttackContext) -> None:
        async def action(random: object) -> None:
            raise KeyError("a mistake")

        await context.repeat(action)

    with running() as fake, pytest.raises(ExceptionGroup) as raised:
        await results_of(fake, [Attack("mistaken", "", run)])
    assert raised.group_contains(KeyError)


async def test_a_canary_that_dies_proves_nothing() -> None:
    with running() as fake:
        async with start_canary(canary_for(fake, 5.0)) as canary:
            canary._process.kill()
            runner = ChaosRunner(config_for(fake), Scraper("127.0.0.1", fake.metrics_port, MODEL), canary)
            with pytest.raises(CanaryError, match="the canary ended with -9"):
                await runner.run([], lambda result: None)

import asyncio
import errno
from dataclasses import replace

import pytest
from chaos_fake import MODEL
from chaos_runs import ATTACKS, order_for, outcomes_of, plan_for, running

from yais.clients.siege.chaos import canary_process
from yais.clients.siege.chaos.canary_process import CanaryError
from yais.clients.siege.chaos.catalogue import Attack
from yais.clients.siege.chaos.course import Course
from yais.clients.siege.chaos.page import Page, Reader
from yais.clients.siege.chaos.scene import Scene


async def test_attacks_that_do_not_take_place_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rest(scene: Scene) -> None:
        """Nothing."""

    async def fail(host: str, port: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with running() as fake:
        monkeypatch.setattr(asyncio, "open_connection", fail)
        outcomes = await outcomes_of(fake, [Attack("idle", "", rest), ATTACKS["garbage"]])
    assert [outcome.state for outcome in outcomes.values()] == ["held", "unproven", "unproven"]
    assert "the attack did nothing" in outcomes["idle"].findings[0].text
    assert "Too many open files" in outcomes["garbage"].findings[0].text


class LateReader(Reader):
    """A page that has some of the counts only bit by bit, one each time when it is read."""

    due = counted = 0

    async def read(self) -> Page:
        page = await super().read()
        if self.counted < self.due:
            self.counted += 1
        return replace(page, success=(page.success or 0.0) + self.counted)


async def test_what_a_server_counts_late_is_not_held_against_it_afterwards() -> None:
    with running() as fake:
        reader = LateReader("127.0.0.1", fake.metrics_port, MODEL)
        # Of the requests before the first attack.
        reader.due = 3

        async def leave(scene: Scene) -> None:
            scene.ledger.lost = scene.ledger.acts = 5
            reader.due += 5

        outcomes = await outcomes_of(fake, [Attack("leave", "", leave), ATTACKS["pulses"]], reader=reader)
    assert [outcome.state for outcome in outcomes.values()] == ["held"] * 3
    assert reader.counted == 8


async def test_a_mistake_in_an_attack_is_no_finding() -> None:
    async def run(scene: Scene) -> None:
        async def act(random: object) -> None:
            raise KeyError("a mistake")

        await scene.repeat(act)

    with running() as fake, pytest.raises(ExceptionGroup) as raised:
        await outcomes_of(fake, [Attack("mistaken", "", run)])
    assert raised.group_contains(KeyError)


async def test_a_canary_that_dies_proves_nothing() -> None:
    with running() as fake:
        async with canary_process.called(order_for(fake, 5.0)) as canary:
            canary._process.kill()
            course = Course(plan_for(fake), Reader("127.0.0.1", fake.metrics_port, MODEL), canary)
            with pytest.raises(CanaryError, match="the canary ended with -9"):
                await course.run([], lambda outcome: None)

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from chaos_fake import SLOW_S
from chaos_runs import ATTACKS, broken, outcomes_of, running

from yais.clients.siege.chaos.catalogue import Attack
from yais.clients.siege.chaos.course import PEACE
from yais.clients.siege.chaos.doses import parse
from yais.clients.siege.chaos.promises import MB, Terms
from yais.clients.siege.chaos.scene import Scene


def preceded(attack: Attack, act: Callable[[], None], name: str | None = None) -> Attack:
    async def run(scene: Scene) -> None:
        act()
        await attack.run(scene)

    return replace(attack, run=run, name=name or attack.name)


async def test_a_good_server_holds() -> None:
    chosen = ("random-rate", "pulses", "cancel-storm", "mistyped", "never-reads", "churn")
    with running() as fake:
        outcomes = await outcomes_of(fake, [ATTACKS[name] for name in chosen])
    assert list(outcomes) == [PEACE, *chosen]
    for outcome in outcomes.values():
        assert {finding.state for finding in outcome.findings} == {"held"}, outcome
        assert outcome.canary.answered == outcome.canary.sent > 0


# The last one stays, since its page is no longer there to begin from.
DEFECTS = [
    ("forgets", "pulses", {"successes", "counted"}),
    ("counts twice", "pulses", {"successes", "counted"}),
    ("keeps requests", "pulses", {"in flight"}),
    ("leaks files", "pulses", {"connections"}),
    ("leaks memory", "pulses", {"memory"}),
    ("restarts", "pulses", {"stays"}),
    ("mixes up answers", "pulses", {"canary"}),
    ("loses one", "pulses", {"canary"}),
    ("answers anything", "mistyped", {"refusals"}),
    ("answers anything", "oversize", {"refusals"}),
    ("calls failures successes", "mistyped", {"successes"}),
    ("calls failures successes", "oversize", {"successes"}),
    ("forgets refusals", "mistyped", {"counted"}),
    ("loses its page", "pulses", {"page"}),
]


async def test_a_bad_server_is_found_out() -> None:
    with running() as fake:
        attacks = [
            preceded(ATTACKS[attack], partial(fake.be, defect), f"{attack}: {defect}") for defect, attack, _ in DEFECTS
        ]
        outcomes = await outcomes_of(fake, attacks, fake.heal, settle=0.15)
    assert outcomes.pop(PEACE).state == "held"
    assert {name: broken(outcome) for name, outcome in outcomes.items()} == {
        f"{attack}: {defect}": promises for defect, attack, promises in DEFECTS
    }


@pytest.mark.parametrize(("defect", "promises"), [("is slow", {"canary"}), ("dies", {"canary", "answers"})])
async def test_a_server_that_is_slow_or_dies_is_found_out(defect: str, promises: set[str]) -> None:
    terms = Terms(900 * SLOW_S, 50 * MB, counts_refusals=True)
    with running() as fake:
        attack = preceded(ATTACKS["pulses"], partial(fake.be, defect))
        outcomes = await outcomes_of(fake, [attack], settle=0.15, terms=terms, patience=1.2 * SLOW_S)
    assert outcomes[PEACE].state == "held", outcomes[PEACE]
    assert broken(outcomes["pulses"]) == promises, outcomes["pulses"]


async def test_small_leaks_add_up_over_the_attacks() -> None:
    with running() as fake:
        attacks = [preceded(ATTACKS["pulses"], partial(fake.add, "files", 3), name) for name in ("first", "second")]
        outcomes = await outcomes_of(fake, attacks, settle=0.15)
    assert [broken(outcome) for outcome in outcomes.values()] == [set(), set(), {"connections"}]


async def test_no_attack_leaves_room_for_requests_that_nobody_sent() -> None:
    """Whatever the attack, it takes place, and its bounds are those of what it sent."""
    with running() as fake:
        attacks = [preceded(attack, partial(fake.add, "success", 10**6)) for attack in ATTACKS.values()]
        outcomes = await outcomes_of(fake, attacks, settle=0.05, duration=0.1)
    assert {name: broken(outcomes[name]) for name in ATTACKS} == {name: {"successes", "counted"} for name in ATTACKS}
    assert [name for name, outcome in outcomes.items() if not outcome.ledger.acts] == []


async def test_refusals_need_not_be_counted_by_who_does_not_say_so() -> None:
    with running("triton") as fake:
        fake.be("forgets refusals")
        outcomes = await outcomes_of(fake, [ATTACKS["mistyped"]], settle=0.2)
    assert outcomes["mistyped"].state == "held", outcomes["mistyped"]
    assert outcomes["mistyped"].ledger.refused > 0


async def test_any_attack_goes_through_a_proxy_that_is_asked_for() -> None:
    with running() as fake:
        outcomes = await outcomes_of(fake, [ATTACKS["churn"]], doses=(parse("reset:0ms"),))
    outcome = outcomes["churn"]
    assert outcome.state == "held", outcome
    assert outcome.ledger.answered == outcome.canary.answered + 1

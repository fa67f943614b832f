from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from clients.siege.chaos.fake_server import SLOW_S
from clients.siege.chaos.runs import ATTACKS, broken, results_of, running

from yais.clients.siege.chaos.invariants import MB, Limits
from yais.clients.siege.chaos.runner import BASELINE, Attack, AttackContext
from yais.clients.siege.chaos.toxics import parse_toxic


def preceded(attack: Attack, action: Callable[[], None], name: str | None = None) -> Attack:
    async def run(context: AttackContext) -> None:
        action()
        await attack.run(context)

    return replace(attack, run=run, name=name or attack.name)


async def test_a_good_server_holds() -> None:
    chosen = ("random-rate", "pulses", "cancel-storm", "mistyped", "never-reads", "churn")
    with running() as fake:
        results = await results_of(fake, [ATTACKS[name] for name in chosen])
    assert list(results) == [BASELINE, *chosen]
    for result in results.values():
        assert {finding.state for finding in result.findings} == {"held"}, result
        assert result.canary.answered == result.canary.sent > 0


# The last one stays, since the next attack would have no metrics to begin from.
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
        results = await results_of(fake, attacks, fake.heal, settle=0.15)
    assert results.pop(BASELINE).state == "held"
    assert {name: broken(result) for name, result in results.items()} == {
        f"{attack}: {defect}": invariants for defect, attack, invariants in DEFECTS
    }


async def test_an_attack_takes_place_however_short_its_time() -> None:
    names = [name for name in ATTACKS if not name.startswith("through-")]
    with running() as fake:
        fake.be("answers anything")
        results = await results_of(fake, [ATTACKS[name] for name in names], settle=0.05, duration=0.001)
    assert [name for name in names if not results[name].counters.actions] == []
    assert "refusals" in broken(results["oversize"])


@pytest.mark.parametrize(("defect", "invariants"), [("is slow", {"canary"}), ("dies", {"canary", "answers"})])
async def test_a_server_that_is_slow_or_dies_is_found_out(defect: str, invariants: set[str]) -> None:
    limits = Limits(900 * SLOW_S, 50 * MB, counts_refusals=True)
    with running() as fake:
        attack = preceded(ATTACKS["pulses"], partial(fake.be, defect))
        results = await results_of(fake, [attack], settle=0.15, limits=limits, timeout=1.2 * SLOW_S)
    assert results[BASELINE].state == "held", results[BASELINE]
    assert broken(results["pulses"]) == invariants, results["pulses"]


async def test_small_leaks_add_up_over_the_attacks() -> None:
    with running() as fake:
        attacks = [preceded(ATTACKS["pulses"], partial(fake.add, "files", 3), name) for name in ("first", "second")]
        results = await results_of(fake, attacks, settle=0.15)
    assert [broken(result) for result in results.values()] == [set(), set(), {"connections"}]


async def test_no_attack_leaves_room_for_requests_that_nobody_sent() -> None:
    """Whatever the attack, it takes place, and its bounds are those of what it sent."""
    with running() as fake:
        attacks = [preceded(attack, partial(fake.add, "success", 10**6)) for attack in ATTACKS.values()]
        results = await results_of(fake, attacks, settle=0.05, duration=0.1)
    assert {name: broken(results[name]) for name in ATTACKS} == {name: {"successes", "counted"} for name in ATTACKS}
    assert [name for name, result in results.items() if not result.counters.actions] == []


async def test_refusals_need_not_be_counted_by_who_does_not_say_so() -> None:
    with running("triton") as fake:
        fake.be("forgets refusals")
        results = await results_of(fake, [ATTACKS["mistyped"]], settle=0.2)
    assert results["mistyped"].state == "held", results["mistyped"]
    assert results["mistyped"].counters.refused > 0


async def test_any_attack_goes_through_a_proxy_that_is_asked_for() -> None:
    with running() as fake:
        results = await results_of(fake, [ATTACKS["churn"]], toxics=(parse_toxic("reset:0ms"),))
    result = results["churn"]
    assert result.state == "held", result
    assert result.counters.answered == result.canary.answered + 1

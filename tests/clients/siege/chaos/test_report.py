import json

import pytest

from yais.clients.siege.chaos import cli
from yais.clients.siege.chaos.canary import CanaryReport
from yais.clients.siege.chaos.invariants import ExpectedCounters, Finding, State
from yais.clients.siege.chaos.runner import AttackResult

SEEN = CanaryReport(sent=9, answered=9, wrong=0, failures={}, p50=1.0, p99=2.0, worst=3.0, lag_p99=0.1)


def result(*states: State) -> AttackResult:
    findings = tuple(Finding(f"invariant {index}", state, f"text {index}") for index, state in enumerate(states))
    return AttackResult(
        "pulses", (Finding("attack", "held", "7 actions"), *findings), ExpectedCounters(actions=7), SEEN
    )


@pytest.mark.parametrize(
    ("states", "state", "code"),
    [
        (["held", "held"], "held", cli.HELD),
        (["held", "unknown"], "held", cli.HELD),
        (["unproven", "unknown"], "unproven", cli.UNPROVEN),
        (["unproven", "broke", "held"], "broke", cli.BROKE),
    ],
)
def test_the_worst_finding_decides_of_an_attack_and_of_the_exit_code(
    states: list[State], state: State, code: int
) -> None:
    assert result(*states).state == state
    assert cli.exit_code([result("held"), result(*states), result("held")]) == code


def test_a_line_shows_what_was_broken_or_else_what_was_done() -> None:
    assert cli.result_line(result("held")) == "pulses             held     attack: 7 actions"
    assert cli.result_line(result("broke", "held")) == "pulses             broke    invariant 0: text 0"


def test_the_last_line_counts_states_and_names_what_is_unknown() -> None:
    results = [result("held"), result("broke", "unknown"), result("unproven", "unknown")]
    assert cli.summary_line(results) == ("1 held, 1 broke, 1 unproven; the server has no metrics to check: invariant 1")
    assert cli.summary_line(results[:1]) == "1 held"


def test_the_json_has_all_findings() -> None:
    document = json.loads(json.dumps(cli.as_json([result("broke")], {"seed": 3})))
    assert (document["schema"], document["seed"], document["exit_code"]) == ("yais.siege.chaos/2", 3, 1)
    (entry,) = document["attacks"]
    assert entry["findings"][1] == {"invariant": "invariant 0", "state": "broke", "text": "text 0"}
    assert (entry["clients"]["actions"], entry["canary"]["p99"]) == (7, 2.0)

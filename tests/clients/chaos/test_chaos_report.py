import json

import pytest

from yais.clients.siege.chaos import report
from yais.clients.siege.chaos.canary_process import CanaryReport
from yais.clients.siege.chaos.course import Outcome
from yais.clients.siege.chaos.ledger import Ledger
from yais.clients.siege.chaos.promises import Finding, State

SEEN = CanaryReport(sent=9, answered=9, wrong=0, failures={}, p50=1.0, p99=2.0, worst=3.0, lag_p99=0.1)


def outcome(*states: State) -> Outcome:
    findings = tuple(Finding(f"promise {index}", state, f"text {index}") for index, state in enumerate(states))
    return Outcome("pulses", (Finding("attack", "held", "7 acts"), *findings), Ledger(acts=7), SEEN)


@pytest.mark.parametrize(
    ("states", "state", "code"),
    [
        (["held", "held"], "held", report.HELD),
        (["held", "untold"], "held", report.HELD),
        (["unproven", "untold"], "unproven", report.UNPROVEN),
        (["unproven", "broke", "held"], "broke", report.BROKE),
    ],
)
def test_the_worst_finding_decides_of_an_attack_and_of_the_exit_code(
    states: list[State], state: State, code: int
) -> None:
    assert outcome(*states).state == state
    assert report.exit_code([outcome("held"), outcome(*states), outcome("held")]) == code


def test_a_line_tells_what_was_broken_or_else_what_was_done() -> None:
    assert report.line(outcome("held")) == "pulses             held     attack: 7 acts"
    assert report.line(outcome("broke", "held")) == "pulses             broke    promise 0: text 0"


def test_the_last_line_counts_and_names_what_nobody_could_tell() -> None:
    outcomes = [outcome("held"), outcome("broke", "untold"), outcome("unproven", "untold")]
    assert report.last_line(outcomes) == (
        "1 held, 1 broke, 1 unproven; the server does not tell enough to judge: promise 1"
    )
    assert report.last_line(outcomes[:1]) == "1 held"


def test_the_json_has_all_findings() -> None:
    document = json.loads(json.dumps(report.as_json([outcome("broke")], {"seed": 3})))
    assert (document["schema"], document["seed"], document["exit_code"]) == ("yais.siege.chaos/1", 3, 1)
    (entry,) = document["attacks"]
    assert entry["findings"][1] == {"promise": "promise 0", "state": "broke", "text": "text 0"}
    assert (entry["clients"]["acts"], entry["canary"]["p99"]) == (7, 2.0)

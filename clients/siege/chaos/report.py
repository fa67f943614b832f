"""What came of the attacks, as text for people and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from yais.clients.siege.chaos.course import Outcome

SCHEMA = "yais.siege.chaos/1"
# What a line tells of an attack that did no harm; what broke is told in full.
_TOLD = ("attack", "counted", "canary", "memory")
_WIDTH = 18
HELD, BROKE, UNPROVEN = 0, 1, 3


def line(outcome: Outcome) -> str:
    """`name  state  figures`, the figures being those of the promises that made the state."""
    if outcome.state == "held":
        told = [finding for finding in outcome.findings if finding.promise in _TOLD and finding.state == "held"]
    else:
        told = [finding for finding in outcome.findings if finding.state == outcome.state]
    figures = "; ".join(f"{finding.promise}: {finding.text}" for finding in told)
    return f"{outcome.attack:<{_WIDTH}} {outcome.state:<8} {figures}"


def last_line(outcomes: Sequence[Outcome]) -> str:
    """How many kept and broke what, and what nobody could tell."""
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in ("held", "broke", "unproven")}
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    untold = untold_promises(outcomes)
    return text + (f"; the server does not tell enough to judge: {', '.join(untold)}" if untold else "")


def untold_promises(outcomes: Sequence[Outcome]) -> list[str]:
    return list(
        dict.fromkeys(
            finding.promise for outcome in outcomes for finding in outcome.findings if finding.state == "untold"
        )
    )


def as_json(outcomes: Sequence[Outcome], facts: dict[str, Any]) -> dict[str, Any]:
    """`facts` are those of the run: target, server, model, seed, duration."""
    return {"schema": SCHEMA, **facts, "exit_code": exit_code(outcomes), "attacks": [_entry(each) for each in outcomes]}


def exit_code(outcomes: Sequence[Outcome]) -> int:
    states = {outcome.state for outcome in outcomes}
    if "broke" in states:
        return BROKE
    return UNPROVEN if "unproven" in states else HELD


def _entry(outcome: Outcome) -> dict[str, Any]:
    ledger = outcome.ledger
    return {
        "attack": outcome.attack,
        "state": outcome.state,
        "findings": [asdict(finding) for finding in outcome.findings],
        "clients": {
            **{name: getattr(ledger, name) for name in ("acts", "hangups", "answered", "refused", "unknown")},
            "surprises": dict(ledger.surprises),
        },
        "canary": asdict(outcome.canary),
    }

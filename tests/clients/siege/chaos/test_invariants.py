from dataclasses import replace

import pytest

from yais.clients.siege.chaos import invariants
from yais.clients.siege.chaos.canary import CanaryReport
from yais.clients.siege.chaos.invariants import MB, ExpectedCounters, Finding, Limits, ServerMetrics

LIMITS = Limits(canary=50.0, memory=10 * MB, counts_refusals=True)
BEFORE = ServerMetrics(success=100, failure=10, in_flight=0, files=20, memory=100 * MB, started=1.0)
AFTER = replace(BEFORE, success=105, failure=12)
COUNTERS = ExpectedCounters(actions=7, answered=5, refused=2)
REPORT = CanaryReport(sent=9, answered=9, wrong=0, failures={}, p50=1.0, p99=2.0, worst=3.0, lag_p99=0.1)


def states(after: ServerMetrics, counters: ExpectedCounters = COUNTERS, limits: Limits = LIMITS) -> dict[str, str]:
    """The state of each invariant."""
    findings = invariants.check_metrics(first=BEFORE, before=BEFORE, after=after, counters=counters, limits=limits)
    return {finding.invariant: finding.state for finding in findings}


def broken(after: ServerMetrics, counters: ExpectedCounters = COUNTERS, limits: Limits = LIMITS) -> list[str]:
    return [invariant for invariant, state in states(after, counters, limits).items() if state == "broke"]


def test_a_server_that_keeps_all_invariants_is_found_to() -> None:
    assert set(states(AFTER).values()) == {"held"}


@pytest.mark.parametrize(
    ("after", "invariant"),
    [
        (replace(AFTER, success=104), ["successes", "counted"]),
        (replace(AFTER, success=106), ["successes", "counted"]),
        (replace(AFTER, success=106, failure=11), ["successes"]),
        (replace(AFTER, failure=11), ["counted"]),
        (replace(AFTER, failure=13), ["counted"]),
        (replace(AFTER, in_flight=1), ["in flight"]),
        (replace(AFTER, files=25), ["connections"]),
        (replace(AFTER, memory=111 * MB), ["memory"]),
        (replace(AFTER, started=2.0), ["stays"]),
    ],
    ids=[
        "a success is missing",
        "a success is invented",
        "a failure is a success",
        "a failure is missing",
        "a failure is invented",
        "a request is left",
        "files are left",
        "memory is left",
        "it began anew",
    ],
)
def test_each_invariant_can_be_broken(after: ServerMetrics, invariant: list[str]) -> None:
    assert broken(after) == invariant


def test_a_server_may_grow_a_little() -> None:
    assert not broken(replace(AFTER, files=24, memory=110 * MB))
    findings = invariants.check_metrics(
        first=BEFORE,
        before=BEFORE,
        after=replace(AFTER, memory=109.6 * MB),
        counters=COUNTERS,
        limits=LIMITS,
    )
    assert findings[-1] == Finding("memory", "held", "+10 MB, +10 since the start, at most +10")


def test_what_the_clients_do_not_know_is_held_against_nobody() -> None:
    unknown = replace(COUNTERS, lost=3)
    assert not broken(replace(AFTER, success=108), unknown)
    assert not broken(replace(AFTER, failure=15), unknown)
    assert broken(replace(AFTER, failure=16), unknown) == ["counted"]


def test_refusals_need_only_be_counted_by_who_says_that_he_does() -> None:
    after = replace(AFTER, failure=10)
    assert broken(after) == ["counted"]
    assert not broken(after, limits=replace(LIMITS, counts_refusals=False))


def test_small_leaks_add_up_from_the_start() -> None:
    before = replace(BEFORE, files=23, memory=108 * MB)
    findings = invariants.check_metrics(
        first=BEFORE,
        before=before,
        after=replace(AFTER, files=26, memory=112 * MB),
        counters=COUNTERS,
        limits=LIMITS,
    )
    assert [finding.invariant for finding in findings if finding.state == "broke"] == ["connections", "memory"]


def test_what_there_is_no_metric_for_is_unknown() -> None:
    findings = invariants.check_metrics(
        first=ServerMetrics(), before=ServerMetrics(), after=ServerMetrics(), counters=COUNTERS, limits=LIMITS
    )
    assert {finding.state for finding in findings} == {"unknown"}


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({}, "held", "p99 2.0 ms, bound 50.0 ms, 9 of 9 answered"),
        ({"p99": 50.1}, "broke", "p99 50.1 ms"),
        ({"p99": 50.1, "lag_p99": 30.0}, "unproven", "but it sent 30.0 ms late itself"),
        ({"answered": 8, "failures": {"UNAVAILABLE: gone": 1}}, "broke", "1 x UNAVAILABLE: gone"),
        ({"wrong": 1}, "broke", "1 answers were to another request"),
    ],
    ids=["served", "kept waiting", "late itself", "lost", "given another's answer"],
)
def test_the_canary_is_served_in_time(changes: dict[str, object], state: str, text: str) -> None:
    finding = invariants.check_canary(replace(REPORT, **changes), 50.0)  # type: ignore[arg-type]
    assert finding.state == state
    assert text in finding.text


def test_its_default_bound_is_ten_times_the_baseline_and_at_least_50_ms() -> None:
    assert invariants.default_canary_bound(REPORT) == 50.0
    assert invariants.default_canary_bound(replace(REPORT, p99=7.0)) == 70.0


def test_answers_that_should_not_be_are_named() -> None:
    counters = ExpectedCounters()
    assert invariants.check_refusals(counters).state == "held"
    counters.unexpected["OK for no inputs"] += 2
    assert invariants.check_refusals(counters) == Finding("refusals", "broke", "2 x OK for no inputs")


def test_an_attack_that_did_nothing_proves_nothing() -> None:
    assert invariants.check_attack(COUNTERS).state == "held"
    assert invariants.check_attack(ExpectedCounters(disconnects=3)).state == "unproven"


def test_a_server_must_answer_new_clients() -> None:
    assert invariants.check_answers(True).state == "held"
    assert invariants.check_answers(False, "no connection").state == "broke"

from dataclasses import replace

import pytest

from yais.clients.siege.chaos import promises
from yais.clients.siege.chaos.canary_process import CanaryReport
from yais.clients.siege.chaos.ledger import Ledger
from yais.clients.siege.chaos.page import Page
from yais.clients.siege.chaos.promises import MB, Finding, Terms

TERMS = Terms(canary=50.0, memory=10 * MB, counts_refusals=True)
BEFORE = Page(success=100, failure=10, in_flight=0, files=20, memory=100 * MB, started=1.0)
AFTER = replace(BEFORE, success=105, failure=12)
LEDGER = Ledger(acts=7, answered=5, refused=2)
SEEN = CanaryReport(sent=9, answered=9, wrong=0, failures={}, p50=1.0, p99=2.0, worst=3.0, lag_p99=0.1)


def judged(after: Page, ledger: Ledger = LEDGER, terms: Terms = TERMS) -> dict[str, str]:
    """The state of each promise."""
    findings = promises.judge(BEFORE, BEFORE, after, ledger, terms)
    return {finding.promise: finding.state for finding in findings}


def broken(after: Page, ledger: Ledger = LEDGER, terms: Terms = TERMS) -> list[str]:
    return [promise for promise, state in judged(after, ledger, terms).items() if state == "broke"]


def test_a_server_that_keeps_all_promises_is_found_to() -> None:
    assert set(judged(AFTER).values()) == {"held"}


@pytest.mark.parametrize(
    ("after", "promise"),
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
def test_each_promise_can_be_broken(after: Page, promise: list[str]) -> None:
    assert broken(after) == promise


def test_a_server_may_grow_a_little() -> None:
    assert not broken(replace(AFTER, files=24, memory=110 * MB))
    findings = promises.judge(BEFORE, BEFORE, replace(AFTER, memory=109.6 * MB), LEDGER, TERMS)
    assert findings[-1] == Finding("memory", "held", "+10 MB, +10 since the start, at most +10")


def test_what_the_clients_do_not_know_is_held_against_nobody() -> None:
    unknown = replace(LEDGER, lost=3)
    assert not broken(replace(AFTER, success=108), unknown)
    assert not broken(replace(AFTER, failure=15), unknown)
    assert broken(replace(AFTER, failure=16), unknown) == ["counted"]


def test_refusals_need_only_be_counted_by_who_says_that_he_does() -> None:
    after = replace(AFTER, failure=10)
    assert broken(after) == ["counted"]
    assert not broken(after, terms=replace(TERMS, counts_refusals=False))


def test_small_leaks_add_up_from_the_start() -> None:
    before = replace(BEFORE, files=23, memory=108 * MB)
    findings = promises.judge(BEFORE, before, replace(AFTER, files=26, memory=112 * MB), LEDGER, TERMS)
    assert [finding.promise for finding in findings if finding.state == "broke"] == ["connections", "memory"]


def test_what_the_page_does_not_tell_is_untold() -> None:
    findings = promises.judge(Page(), Page(), Page(), LEDGER, TERMS)
    assert {finding.state for finding in findings} == {"untold"}


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({}, "held", "p99 2.0 ms, bound 50.0 ms, 9 of 9 answered"),
        ({"p99": 50.1}, "broke", "p99 50.1 ms"),
        ({"p99": 50.1, "lag_p99": 30.0}, "unproven", "but it sent 30.0 ms late itself"),
        ({"answered": 8, "failures": {"UNAVAILABLE: gone": 1}}, "broke", "1 x UNAVAILABLE: gone"),
        ({"wrong": 1}, "broke", "1 answers were not to what was asked"),
    ],
    ids=["served", "kept waiting", "late itself", "lost", "given another's answer"],
)
def test_the_canary_is_served_in_time(changes: dict[str, object], state: str, text: str) -> None:
    finding = promises.unharmed(replace(SEEN, **changes), 50.0)  # type: ignore[arg-type]
    assert finding.state == state
    assert text in finding.text


def test_its_bound_is_ten_times_what_it_waited_in_peace_and_at_least_50_ms() -> None:
    assert promises.bound_of(SEEN) == 50.0
    assert promises.bound_of(replace(SEEN, p99=7.0)) == 70.0


def test_answers_that_should_not_be_are_told() -> None:
    ledger = Ledger()
    assert promises.refuses(ledger).state == "held"
    ledger.surprises["OK for no inputs"] += 2
    assert promises.refuses(ledger) == Finding("refusals", "broke", "2 x OK for no inputs")


def test_an_attack_that_did_nothing_proves_nothing() -> None:
    assert promises.acted(LEDGER).state == "held"
    assert promises.acted(Ledger(hangups=3)).state == "unproven"


def test_a_server_must_answer_new_clients() -> None:
    assert promises.answers(True).state == "held"
    assert promises.answers(False, "no connection").state == "broke"

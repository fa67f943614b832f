"""What a server promises, and whether it kept it: functions of what was seen before and after an attack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from yais.clients.siege.chaos.canary_process import CanaryReport
from yais.clients.siege.chaos.ledger import Bounds, Ledger
from yais.clients.siege.chaos.page import Page

State = Literal["held", "broke", "unproven", "untold"]

MB = 2**20
# The connection that asks for the page is one; the system may take its time with another.
_FILES = 4
_LEAST_BOUND_MS = 50.0
_FACTOR = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What is found of one promise.

    Unproven: the clients could not do their part. Untold: the server tells nothing that it could be judged by.
    """

    promise: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What is held against the server: `canary` in milliseconds, `memory` in bytes.

    `counts_refusals`: whether it says that it counts requests for its models which it refuses. YAIS does; Triton
    leaves those out that are refused before its queue.
    """

    canary: float
    memory: float
    counts_refusals: bool


def bound_of(before: CanaryReport) -> float:
    """Milliseconds for the canary's p99, from its p99 before any attack."""
    return max(_FACTOR * before.p99, _LEAST_BOUND_MS)


def judge(first: Page, before: Page, after: Page, ledger: Ledger, terms: Terms) -> list[Finding]:
    """By the server's page: `first` from before all attacks, so that small leaks add up."""
    pages = (first, before, after)
    return [
        _stayed(before, after),
        _successes(before, after, ledger.successes),
        _received(before, after, ledger.received(terms.counts_refusals)),
        _emptied(after),
        _at_most("connections", [page.files for page in pages], _FILES, "open files"),
        _at_most("memory", [_megabytes(page.memory) for page in pages], terms.memory / MB, "MB"),
    ]


def answers(is_answered: bool, reason: str = "") -> Finding:
    if is_answered:
        return Finding("answers", "held", "a new client was answered")
    return Finding("answers", "broke", f"a new client was not answered: {reason}")


def refuses(ledger: Ledger) -> Finding:
    if not ledger.surprises:
        return Finding("refusals", "held", "nothing was answered that should not be")
    texts = (f"{count:,} x {text}" for text, count in ledger.surprises.most_common(3))
    return Finding("refusals", "broke", "; ".join(texts))


def acted(ledger: Ledger) -> Finding:
    """Whether the attack took place."""
    if ledger.acts:
        return Finding("attack", "held", f"{ledger.acts:,} acts, hung up on {ledger.hangups:,} times")
    return Finding("attack", "unproven", f"the attack did nothing; the server hung up {ledger.hangups:,} times")


def unharmed(seen: CanaryReport, bound: float) -> Finding:
    """The canary was answered, rightly and in time. Its own delay is its own."""
    figures = f"p99 {seen.p99:.1f} ms, bound {bound:.1f} ms, {seen.answered:,} of {seen.sent:,} answered"
    if seen.wrong:
        return Finding("canary", "broke", f"{seen.wrong:,} answers were not to what was asked; {figures}")
    if seen.lost:
        failures = sorted(seen.failures.items(), key=lambda item: -item[1])[:2]
        reasons = "; ".join(f"{count:,} x {text}" for text, count in failures)
        return Finding("canary", "broke", f"{figures}: {reasons}")
    if seen.p99 <= bound:
        return Finding("canary", "held", figures)
    if seen.lag_p99 > seen.p99 / 2:
        return Finding("canary", "unproven", f"{figures}, but it sent {seen.lag_p99:.1f} ms late itself")
    return Finding("canary", "broke", figures)


def _stayed(before: Page, after: Page) -> Finding:
    if before.started is None or after.started is None:
        return Finding("stays", "untold", "the page does not say when the process began")
    if before.started == after.started:
        return Finding("stays", "held", "the same process")
    return Finding("stays", "broke", "the server is another process than before")


def _successes(before: Page, after: Page, bounds: Bounds) -> Finding:
    return _grown("successes", before.success, after.success, bounds)


def _received(before: Page, after: Page, bounds: Bounds) -> Finding:
    return _grown("counted", before.received, after.received, bounds)


def _grown(promise: str, before: float | None, after: float | None, bounds: Bounds) -> Finding:
    if before is None or after is None:
        return Finding(promise, "untold", "the page has no such counter of the model")
    growth = round(after - before)
    return Finding(promise, "held" if growth in bounds else "broke", f"grew by {growth:,}, should by {bounds}")


def _emptied(after: Page) -> Finding:
    if after.in_flight is None:
        return Finding("in flight", "untold", "the page does not say what is in flight")
    return Finding("in flight", "broke" if after.in_flight else "held", f"{after.in_flight:,.0f} left")


def _at_most(promise: str, figures: Sequence[float | None], most: float, unit: str) -> Finding:
    """A figure at the start, before the attack and after it; what it may grow by is from the start."""
    told = [figure for figure in figures if figure is not None]
    if len(told) < len(figures):
        return Finding(promise, "untold", f"the page does not tell its {promise}")
    first, before, after = told
    text = f"{after - before:+,.0f} {unit}, {after - first:+,.0f} since the start, at most {most:+,.0f}"
    return Finding(promise, "held" if after - first <= most else "broke", text)


def _megabytes(size: float | None) -> float | None:
    return None if size is None else size / MB

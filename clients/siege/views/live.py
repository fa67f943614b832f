"""How a siege goes while it goes: a look once a second, as a view that stays in place or as plain lines."""

import asyncio
import sys
from dataclasses import dataclass
from time import monotonic_ns
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from yais.clients.histogram import Histogram
from yais.clients.rendering import milliseconds
from yais.clients.siege.schedules.options import Plan, make_pacer
from yais.clients.siege.schedules.pacer import Pacer
from yais.clients.siege.traffic.closed import ClosedLoop
from yais.clients.siege.traffic.sender import Sender

INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Glance:
    """The interval since the last look, except `held_back` and `failed`, which count from the start.

    Rates per second, None where a closed loop asks for none; `elapsed` in seconds, `latency` in milliseconds from the
    due time, by percentile.
    """

    elapsed: float
    asked: float | None
    answered: float
    in_flight: int
    held_back: int
    failed: int
    latency: dict[str, float]


class View(Protocol):
    """Shows glances to whoever watches."""

    def show(self, glance: Glance) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Observer:
    """Looks at what a sender's records add up to, and at what was added since."""

    def __init__(self, sender: Sender | ClosedLoop, pacer: Pacer | None) -> None:
        self._sender = sender
        self._pacer = pacer
        self._seen = Histogram()
        self._looked_at = sender.started_at

    def look(self, now: int) -> Glance:
        """What happened since the last look; `now` in nanoseconds of the monotonic clock."""
        tally = self._sender.recorder.tally
        latencies = tally.latency
        recent = latencies.minus(self._seen)
        elapsed, interval = now - self._sender.started_at, max(now - self._looked_at, 1)
        self._seen, self._looked_at = latencies, now
        return Glance(
            elapsed=elapsed / 1e9,
            asked=None if self._pacer is None else self._pacer.rate(elapsed),
            answered=recent.total * 1e9 / interval,
            in_flight=self._sender.in_flight,
            held_back=self._sender.held_back,
            failed=tally.counts.errors,
            latency=recent.percentiles(),
        )


async def watch(sender: Sender | ClosedLoop, plan: Plan, view: View) -> None:
    """Shows a glance each second until cancelled."""
    observer = Observer(sender, None if plan.is_closed else make_pacer(plan))
    while True:
        await asyncio.sleep(INTERVAL)
        view.show(observer.look(monotonic_ns()))


class Lines:
    """A plain line for each glance on the standard error, which leaves the standard output to the report."""

    def show(self, glance: Glance) -> None:
        click.echo("  ".join(f"{label} {value}" for label, value in cells(glance)), err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Screen:
    """One line that stays in place.

    Rendered on the event loop, so it must stay cheap: a table costs a millisecond, which would be a send lag.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())

    def show(self, glance: Glance) -> None:
        self._live.update(styled(glance), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def open_view() -> View:
    console = Console()
    return Screen(console) if console.is_terminal else Lines()


def cells(glance: Glance) -> list[tuple[str, str]]:
    percentiles = [(name, f"{milliseconds(glance.latency[name])} ms") for name in ("p50", "p99") if glance.latency]
    return [
        ("at", f"{glance.elapsed:.0f} s"),
        *([] if glance.asked is None else [("asked", f"{glance.asked:,.1f}/s")]),
        ("answered", f"{glance.answered:,.1f}/s"),
        ("in flight", f"{glance.in_flight:,}"),
        *percentiles,
        ("failed", f"{glance.failed:,}"),
        ("held back", f"{glance.held_back:,}"),
    ]


def styled(glance: Glance) -> Text:
    text = Text()
    for label, value in cells(glance):
        alarming = label in ("failed", "held back") and value != "0"
        text.append(f"{label} ", "dim").append(value, "bold red" if alarming else "bold").append("  ")
    return text

"""Terminal view of a siege: figures and curves that stay in place, or plain lines for a log or a pipe."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import click
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.segment import Segment
from rich.style import Style

from yais.clients.channel import HostPort
from yais.clients.siege.progress import Cell, Snapshot, lag, latencies, losses, rates
from yais.clients.stats.histogram import milliseconds

# Seconds, as a snapshot comes each second, and columns of a curve.
WINDOW = 60

# Columns: a curve's name, the shortest worth drawing, and the figures after it.
_NAME, _SHORTEST, _FIGURES = 10, 8, 28
_LABEL = Style(dim=True)
_VALUE = Style(bold=True)
_ALARM = Style(bold=True, color="red")
_CURVE = Style(color="cyan")

BLOCKS = "▁▂▃▄▅▆▇█"


class View(Protocol):
    """Shows snapshots as they come."""

    def show(self, snapshot: Snapshot) -> None: ...


class Views:
    """Several as one."""

    def __init__(self, *views: View) -> None:
        self._views = views

    def show(self, snapshot: Snapshot) -> None:
        for view in self._views:
            view.show(snapshot)


@contextmanager
def open_views(metrics: HostPort | None, info: Mapping[str, str]) -> Iterator[Views]:
    """Shows siege on the standard error, and at `metrics`, of which `info` are the labels of `siege_info`.

    Raises click's usage error where that address cannot be had.
    """
    with ExitStack() as stack:
        views: list[View] = []
        if metrics is not None:
            views.append(stack.enter_context(_open_metrics(metrics, info)))
        # FORCE_COLOR makes rich take a file for a terminal, TERM=dumb cannot go back.
        console = Console(stderr=True)
        is_screen = console.is_interactive and console.file.isatty()
        view: Screen | PlainLines = Screen(console) if is_screen else PlainLines()
        views.append(view)
        stack.enter_context(view)
        yield Views(*views)


class SecondStats(NamedTuple):
    """One second: a rate, and milliseconds; None where nothing completed."""

    answered: float
    p50: float | None
    p99: float | None

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        if not snapshot.latency.total:
            return cls(snapshot.answered, None, None)
        return cls(snapshot.answered, *(snapshot.latency.values_at([50.0, 99.0]) / 1e6).tolist())


class Frame:
    """The whole view, as wide as there is room.

    Made of segments, for it is rendered on the event loop that sends: rich's texts and tables take several times as
    long to lay out, which would be a send lag.
    """

    def __init__(self, snapshot: Snapshot, samples: Sequence[SecondStats]) -> None:
        self._snapshot = snapshot
        self._samples = samples

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        snapshot, width = self._snapshot, options.max_width
        yield from _row([*rates(snapshot), *lag(snapshot)], width)
        answered, p50, p99 = zip(*self._samples, strict=True)
        # Where the terminal's encoding has no blocks to draw with, there are only figures.
        room = 0 if options.ascii_only else width
        yield from _curve("answered", answered, _format_rate, room)
        yield from _curve("p50", p50, _format_duration, room)
        yield from _curve("p99", p99, _format_duration, room)
        for cell in losses(snapshot):
            if cell.is_alarming:
                yield from _row([cell], width)


class Screen:
    """Shows each snapshot in the place of the one before, above which whatever else is printed goes."""

    def __init__(self, console: Console) -> None:
        self._samples: deque[SecondStats] = deque(maxlen=WINDOW)
        # The standard output has the report: rich would otherwise send it to this console, the standard error.
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=sys.stderr.isatty()
        )

    def show(self, snapshot: Snapshot) -> None:
        # The report follows the last one, which is of no whole interval.
        if not snapshot.last:
            self._samples.append(SecondStats.of(snapshot))
            self._live.update(Frame(snapshot, self._samples), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def sparkline(values: Sequence[float | None]) -> str:
    """One character a value, from 0 to the greatest of them, which is `top`; a blank where there is no value."""
    steps = len(BLOCKS) / (top(values) or 1.0)
    # The greatest value itself is a step beyond the last one.
    blocks = BLOCKS + BLOCKS[-1]
    return "".join([" " if value is None else blocks[int(value * steps)] for value in values])


def top(values: Sequence[float | None]) -> float:
    """0 without any."""
    return max([value for value in values if value is not None], default=0.0)


class PlainLines:
    """A line for each snapshot on the standard error, which leaves the standard output to the report."""

    def show(self, snapshot: Snapshot) -> None:
        # The report follows the last one, which is of no whole interval.
        if not snapshot.last:
            click.echo("  ".join(map(str, [*rates(snapshot), *latencies(snapshot), *losses(snapshot)])), err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@contextmanager
def _open_metrics(address: HostPort, info: Mapping[str, str]) -> Iterator[View]:
    # Imported only where it is asked for: prometheus_client brings an HTTP server along.
    from yais.clients.siege.prometheus import SiegeCollector, serve_metrics

    metrics = SiegeCollector(info)
    with serve_metrics(metrics, address) as bound:
        click.echo(f"metrics at http://{bound}/metrics", err=True)
        yield metrics


def _row(cells: Sequence[Cell], width: int) -> Iterator[Segment]:
    """As many of the cells as fit, whole; the first one at least, however little of it."""
    left = width
    for number, cell in enumerate(cells):
        if number and len(str(cell)) > left:
            break
        yield Segment(f"{cell.label} ", _LABEL)
        yield Segment(_cut(f"{cell.value}  ", left - len(cell.label) - 1), _ALARM if cell.is_alarming else _VALUE)
        left -= len(str(cell)) + 2
    yield Segment.line()


def _cut(text: str, width: int) -> str:
    return text if len(text.rstrip()) <= width else f"{text[: max(width - 1, 0)]}…"


def _curve(name: str, values: Sequence[float | None], show: Callable[[float], str], width: int) -> Iterator[Segment]:
    """The latest value, and if there is room the curve before it, the newest at the right, and its greatest value."""
    yield Segment(f"{name:<{_NAME}}", _LABEL)
    now = "-" if values[-1] is None else show(values[-1])
    length = min(WINDOW, width - _NAME - _FIGURES)
    if length < _SHORTEST:
        yield Segment(now, _VALUE)
    else:
        values = values[-length:]
        yield Segment(sparkline(values).rjust(length), _CURVE)
        yield Segment(f"{now:>12}", _VALUE)
        yield Segment(f"  top {show(top(values))}", _LABEL)
    yield Segment.line()


def _format_duration(value: float) -> str:
    return f"{milliseconds(value)} ms"


def _format_rate(value: float) -> str:
    return f"{value:,.1f}/s"

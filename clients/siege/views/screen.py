"""A siege on a terminal: figures, and curves of the last minute, which stay in place."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.segment import Segment
from rich.style import Style

from yais.clients.siege.views.cells import Cell, lag, losses, rates
from yais.clients.siege.views.glance import Glance
from yais.clients.siege.views.sparkline import sparkline, top
from yais.clients.stats.histogram import milliseconds

WINDOW = 60

# Columns: a curve's name, the shortest worth drawing, and the figures after it.
_NAME, _SHORTEST, _FIGURES = 10, 8, 28
_LABEL = Style(dim=True)
_VALUE = Style(bold=True)
_ALARM = Style(bold=True, color="red")
_CURVE = Style(color="cyan")


class Sample(NamedTuple):
    """One second: a rate, and milliseconds; None where nothing completed."""

    answered: float
    p50: float | None
    p99: float | None

    @classmethod
    def of(cls, glance: Glance) -> Self:
        if not glance.latency.total:
            return cls(glance.answered, None, None)
        return cls(glance.answered, *(glance.latency.values_at([50.0, 99.0]) / 1e6).tolist())


class Frame:
    """The whole view, as wide as there is room.

    Made of segments, for it is rendered on the event loop that sends: rich's texts and tables take several times as
    long to lay out, which would be a send lag.
    """

    def __init__(self, glance: Glance, samples: Sequence[Sample]) -> None:
        self._glance = glance
        self._samples = samples

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        glance, width = self._glance, options.max_width
        yield from _row([*rates(glance), *lag(glance)], width)
        answered, p50, p99 = zip(*self._samples, strict=True)
        room = 0 if options.ascii_only else width
        yield from _curve("answered", answered, _rate, room)
        yield from _curve("p50", p50, _duration, room)
        yield from _curve("p99", p99, _duration, room)
        for cell in losses(glance):
            if cell.is_alarming:
                yield from _row([cell], width)


class Screen:
    """Shows each glance in the place of the one before, above which whatever else is printed goes."""

    def __init__(self, console: Console) -> None:
        self._samples: deque[Sample] = deque(maxlen=WINDOW)
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=sys.stderr.isatty()
        )

    def show(self, glance: Glance) -> None:
        # The report follows the last one, which is of no whole interval.
        if not glance.last:
            self._samples.append(Sample.of(glance))
            self._live.update(Frame(glance, self._samples), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


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


def _duration(value: float) -> str:
    return f"{milliseconds(value)} ms"


def _rate(value: float) -> str:
    return f"{value:,.1f}/s"

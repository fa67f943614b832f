"""What a plot shows, before anything is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yais.clients.exports.html.runs import Run
from yais.clients.stats.report import Report

Values = NDArray[np.float64]
Dash = Literal["solid", "dashed", "dotted", "dotdash"]
Axis = Literal["second", "percentile"]

# Okabe and Ito's, that colour-blind readers tell apart, without the yellow, which paper swallows.
_RUN_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#4d4d4d")


@dataclass(frozen=True, slots=True)
class Line:
    """Values of a run along a plot's x, NaN where there are none. One that is not `shown` waits in the legend."""

    run: int
    name: str
    values: Values
    colour: str
    dash: Dash
    shown: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines along the same `x`: seconds of the run, or 1 / (1 - q) for the quantiles q."""

    name: str
    title: str
    text: str
    axis: Axis
    x: Values
    y_label: str
    lines: tuple[Line, ...]
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is drawn of every run.

    One run has a colour for each quantity. Of several, each has its colour, and quantities are told apart by their
    dashes `among` them; only the `leading` ones are shown at first.
    """

    name: str
    of: Callable[[Report], Values]
    colour: str
    dash: Dash = "solid"
    among: Dash = "solid"
    leading: bool = True


def lines_of(runs: Sequence[Run], quantities: Sequence[Quantity], length: int) -> tuple[Line, ...]:
    """A line of each run's quantity, but for those without any value."""
    lines = [
        _line(run, number, quantity, length, alone=len(runs) == 1)
        for number, run in enumerate(runs)
        for quantity in quantities
    ]
    return tuple(line for line in lines if not np.isnan(line.values).all())


def _line(run: Run, number: int, quantity: Quantity, length: int, *, alone: bool) -> Line:
    values = quantity.of(run.report)
    return Line(
        run=number,
        name=quantity.name if alone else f"{run.name}: {quantity.name}",
        values=np.pad(values, (0, length - values.size), constant_values=np.nan),
        colour=quantity.colour if alone else _RUN_COLOURS[number % len(_RUN_COLOURS)],
        dash=quantity.dash if alone else quantity.among,
        shown=alone or quantity.leading,
    )

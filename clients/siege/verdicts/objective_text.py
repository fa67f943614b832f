"""The language of objectives: `p99<20ms, errors<0.1%, goodput>1000/s@50ms`.

objectives = objective {"," objective}
objective  = metric ("<" | "<=" | ">" | ">=") number unit ["@" number unit]
metric     = "p" percentile | "max" | "mean" | "errors" | "held_back" | "late" | "rate" | "goodput"
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import click

from yais.clients.siege.verdicts.objectives import COMPARISONS, METRICS, Kind, Objective

_UNITS: Mapping[Kind, Mapping[str, Fraction]] = MappingProxyType(
    {
        "time": {"us": Fraction(10**3), "µs": Fraction(10**3), "ms": Fraction(10**6), "s": Fraction(10**9)},
        "share": {"%": Fraction(1, 100)},
        "rate": {"/s": Fraction(1)},
    }
)
_PERCENTILE = re.compile(r"p\d{1,2}(\.\d+)?")
_METRIC_NAMES = f"a metric (p50, p99, p99.9 and so on, {', '.join(METRICS)})"


class ObjectiveError(ValueError):
    """A text that is no objective: `expected` is what should stand at character `at`, which the message points to."""

    def __init__(self, text: str, at: int, expected: str) -> None:
        super().__init__(f"expected {expected}\n  {text}\n  {' ' * at}^")
        self.at = at
        self.expected = expected


class ObjectivesType(click.ParamType[tuple[Objective, ...], str]):
    """The type of an option that takes objectives."""

    name = "objectives"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[Objective, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return parse(value)
        except ObjectiveError as error:
            self.fail(str(error), parameter, context)


OBJECTIVES = ObjectivesType()


def parse(text: str) -> tuple[Objective, ...]:
    """Raises ObjectiveError."""
    reader = _Reader(text)
    objectives = [_objective(reader)]
    while not reader.is_at_end:
        reader.take(",", "a comma or the end")
        objectives.append(_objective(reader))
    return tuple(objectives)


class _Reader:
    """Goes through a text, past what is taken and past blanks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip_blanks()

    @property
    def is_at_end(self) -> bool:
        return self.at == len(self.text)

    def take(self, pattern: str, expected: str) -> str:
        match = re.compile(pattern).match(self.text, self.at)
        if match is None:
            raise ObjectiveError(self.text, self.at, expected)
        self.at = match.end()
        self._skip_blanks()
        return match[0]

    def _skip_blanks(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1


def _objective(reader: _Reader) -> Objective:
    start = reader.at
    metric = _metric(reader)
    comparison = reader.take("|".join(COMPARISONS), "<, <=, > or >=")
    bound = _quantity(reader, METRICS.get(metric, "time"))
    within = 0
    if metric == "goodput":
        reader.take("@", "@ and a time, as in goodput>1000/s@50ms")
        within = int(_quantity(reader, "time"))
    text = "".join(reader.text[start : reader.at].split())
    return Objective(text, metric, comparison, bound, within)


def _metric(reader: _Reader) -> str:
    start = reader.at
    word = reader.take(r"[a-z_]\w*(\.\d+)?", _METRIC_NAMES)
    if word not in METRICS and not (_PERCENTILE.fullmatch(word) and Fraction(word[1:])):
        raise ObjectiveError(reader.text, start, _METRIC_NAMES)
    return word


def _quantity(reader: _Reader, kind: Kind) -> Fraction:
    start = reader.at
    number = Fraction(reader.take(r"\d+(\.\d+)?", "a number"))
    units = _UNITS[kind]
    quantity = number * units[reader.take(rf"({'|'.join(units)})(?![\w%/])", _one_of(units))]
    if kind == "share" and quantity > 1:
        raise ObjectiveError(reader.text, start, "at most 100 %")
    if kind != "share" and not quantity:
        raise ObjectiveError(reader.text, start, "more than 0")
    return quantity


def _one_of(units: Mapping[str, Fraction]) -> str:
    *others, last = units
    return f"{', '.join(others)} or {last}" if others else last

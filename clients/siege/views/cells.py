"""What a glance says, in words."""

from typing import NamedTuple

from yais.clients.siege.views.glance import Glance
from yais.clients.stats.histogram import Histogram, milliseconds


class Cell(NamedTuple):
    """A figure; an alarming one is of what should not happen."""

    label: str
    value: str
    is_alarming: bool = False

    def __str__(self) -> str:
        return f"{self.label} {self.value}"


def rates(glance: Glance) -> list[Cell]:
    # Requests of the warm-up are not counted: without a word about them it would seem that nothing is answered.
    is_warming_up = glance.warm_up and not glance.counts.offered
    return [
        Cell("at", f"{glance.elapsed:.0f} s"),
        *([Cell("warm-up", f"{glance.warm_up:,}")] if is_warming_up else []),
        *([] if glance.asked is None else [Cell("asked", f"{glance.asked:,.1f}/s")]),
        Cell("answered", f"{glance.answered:,.1f}/s"),
        Cell("in flight", f"{glance.in_flight:,}"),
    ]


def latencies(glance: Glance) -> list[Cell]:
    return [*_cells(glance.latency, {"p50": 50.0, "p99": 99.0}), *lag(glance)]


def lag(glance: Glance) -> list[Cell]:
    """A closed loop has none."""
    return [] if glance.asked is None else _cells(glance.lag, {"lag p99": 99.0})


def losses(glance: Glance) -> list[Cell]:
    errors, held_back = glance.counts.errors, glance.counts.held_back
    kinds = ", ".join(f"{status} {count:,}" for status, count in glance.failures.items())
    return [
        Cell("failed", f"{errors:,} ({kinds})" if kinds else f"{errors:,}", errors > 0),
        Cell("held back", f"{held_back:,}", held_back > 0),
    ]


def _cells(histogram: Histogram, quantiles: dict[str, float]) -> list[Cell]:
    if not histogram.total:
        return []
    values = (histogram.values_at(list(quantiles.values())) / 1e6).tolist()
    return [Cell(name, f"{milliseconds(value)} ms") for name, value in zip(quantiles, values, strict=True)]

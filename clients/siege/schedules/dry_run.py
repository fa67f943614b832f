"""A schedule on paper: `siege --dry-run` prints it, and nothing is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, sqrt

import click

from yais.clients.siege.schedules.pacer import SECOND, Arrivals, Pacer

_NO_END = 2**63 - 1


def print_schedule(pacer: Pacer) -> None:
    """The offsets on the standard output, a line each, in seconds, as a replay reads them; a summary beside it."""
    summary = Summary()
    for block in blocks(pacer):
        summary.add(block)
        click.echo("\n".join(f"{due // SECOND}.{due % SECOND:09d}" for due in block))
    click.echo(summary, err=True)


def blocks(pacer: Pacer) -> Iterator[list[int]]:
    arrivals = Arrivals(pacer)
    while block := arrivals.take(_NO_END):
        yield block


@dataclass(slots=True)
class Summary:
    """What a schedule amounts to, in nanoseconds; the gaps are those between arrivals."""

    arrivals: int = 0
    first: int = 0
    last: int = 0
    shortest: float = inf
    longest: float = 0
    squares: float = 0

    def add(self, block: list[int]) -> None:
        if not self.arrivals:
            self.first = self.last = block[0]
            self.arrivals, block = 1, block[1:]
        for due in block:
            gap = due - self.last
            self.shortest, self.longest = min(self.shortest, gap), max(self.longest, gap)
            self.squares += gap * gap
            self.last = due
        self.arrivals += len(block)

    def __str__(self) -> str:
        if self.arrivals < 2:
            return f"{self.arrivals} arrivals"
        gaps, length = self.arrivals - 1, self.last - self.first
        mean = length / gaps
        deviation = sqrt(max(self.squares / gaps - mean**2, 0))
        return (
            f"{self.arrivals:,} arrivals from {self.first / SECOND:.3f} s to {self.last / SECOND:.3f} s; "
            f"gaps: mean {mean / 1e6:.3f} ms, deviation {deviation / 1e6:.3f} ms, "
            f"from {self.shortest / 1e6:.3f} ms to {self.longest / 1e6:.3f} ms"
        )

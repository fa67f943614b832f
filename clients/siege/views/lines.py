"""A siege as plain lines, for a log or a pipe."""

from types import TracebackType
from typing import Self

import click

from yais.clients.siege.views.cells import latencies, losses, rates
from yais.clients.siege.views.glance import Glance


class Lines:
    """A line for each glance on the standard error, which leaves the standard output to the report."""

    def show(self, glance: Glance) -> None:
        # The report follows the last one, which is of no whole interval.
        if not glance.last:
            click.echo("  ".join(map(str, [*rates(glance), *latencies(glance), *losses(glance)])), err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

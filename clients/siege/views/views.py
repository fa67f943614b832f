"""All that shows a siege while it runs."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

import click
from rich.console import Console

from yais.clients.siege.views.address import Address
from yais.clients.siege.views.glance import Glance
from yais.clients.siege.views.lines import Lines
from yais.clients.siege.views.screen import Screen


class View(Protocol):
    """Shows glances to whoever watches."""

    def show(self, glance: Glance) -> None: ...


class Views:
    """Several as one."""

    def __init__(self, *views: View) -> None:
        self._views = views

    def show(self, glance: Glance) -> None:
        for view in self._views:
            view.show(glance)


@contextmanager
def open_views(metrics: Address | None, info: Mapping[str, str]) -> Iterator[Views]:
    """Shows siege on the standard error, and at `metrics`, of which `info` are the labels of `siege_info`.

    Raises click's usage error where that address cannot be had.
    """
    with ExitStack() as stack:
        views: list[View] = []
        if metrics is not None:
            views.append(stack.enter_context(_open_metrics(metrics, info)))
        views.append(stack.enter_context(_open_for_people()))
        yield Views(*views)


def _open_for_people() -> AbstractContextManager[View]:
    """A screen where there is one: FORCE_COLOR makes rich take a file for a terminal, TERM=dumb cannot go back."""
    console = Console(stderr=True)
    return Screen(console) if console.is_interactive and console.file.isatty() else Lines()


@contextmanager
def _open_metrics(address: Address, info: Mapping[str, str]) -> Iterator[View]:
    # Imported only where it is asked for: prometheus_client brings an HTTP server along.
    from yais.clients.siege.views.endpoint import serving
    from yais.clients.siege.views.metrics import Metrics

    metrics = Metrics(info)
    with serving(metrics, address) as bound:
        click.echo(f"metrics at http://{bound}/metrics", err=True)
        yield metrics

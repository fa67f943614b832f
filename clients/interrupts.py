"""Ctrl-C (SIGINT, SIGTERM): the first ends the sending, a second ends what is in flight; the report follows."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """For blocking code: what it yields says whether there was a signal; a second one raises KeyboardInterrupt."""
    received = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        _announce()

    before = {number: signal.signal(number, receive) for number in _SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def handled(stop: Callable[[], None], cancel: Callable[[], None]) -> Iterator[None]:
    """For the running event loop: the first signal calls `stop`, every later one `cancel`."""
    received = []

    def receive(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            cancel()
        else:
            _announce()
            stop()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _announce() -> None:
    click.echo("stopping: what is in flight is waited for; Ctrl-C again to cancel it", err=True)

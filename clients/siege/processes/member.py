"""One sending process, as its parent sees it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context

import click

from yais.clients.siege.load import Load
from yais.clients.siege.processes.messages import Connected, Ended, Failed, HeldBack, Message, Order
from yais.clients.siege.processes.sending import Pipe, send
from yais.clients.siege.views.glance import Glance

News = Glance | HeldBack

# Seconds in which a process that was killed is gone.
_KILLED = 10.0


class Member:
    """Sends `load`, and gives `take` its index and what it tells; `connected` and `ended` are to be waited for.

    They raise click's exception when the process cannot connect, or dies.
    """

    def __init__(self, load: Load, take: Callable[[int, News], None]) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._index = load.index
        self._tell = take
        # Not forked: gRPC's threads and locks would come along in the state in which they happened to be.
        context = get_context("spawn")
        self._pipe: Pipe
        self._pipe, self._its_pipe = context.Pipe()
        self._process = context.Process(target=send, args=(self._its_pipe, load), daemon=True)

    def start(self) -> None:
        self._process.start()
        # With our copy open, its end would never be seen.
        self._its_pipe.close()
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._receive)

    def order(self, order: Order) -> None:
        # That one has died is noticed where its messages are read.
        with suppress(BrokenPipeError):
            self._pipe.send(order)

    def close(self) -> None:
        """Ends the process, however it is."""
        if self._process.pid is not None:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._process.kill()
            self._process.join(_KILLED)
        self._pipe.close()

    def _receive(self) -> None:
        try:
            self._take(self._pipe.recv())
        except (EOFError, ConnectionResetError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._process.join(_KILLED)
            self._fail(f"sending process {self._index} died with exit code {self._process.exitcode}")

    def _take(self, message: Message) -> None:
        match message:
            case Connected():
                self.connected.set_result(None)
            case Ended():
                self.ended.set_result(message)
            case Failed(text):
                self._fail(text)
            case news:
                self._tell(self._index, news)

    def _fail(self, text: str) -> None:
        for awaited in (self.connected, self.ended):
            if not awaited.done():
                awaited.set_exception(click.ClickException(text))
                # Of several that fail at once, one is told.
                awaited.exception()

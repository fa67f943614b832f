"""A sending process: it does what its parent orders, and ends when that is gone."""

import asyncio
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import click
import uvloop

from yais.clients.siege.load import Load
from yais.clients.siege.processes.messages import Connected, Ended, Failed, HeldBack, Order
from yais.clients.siege.run import ready
from yais.clients.siege.traffic.closed import ClosedLoop
from yais.clients.siege.traffic.sender import Sender
from yais.clients.stats.recorder import Recorder

Pipe: TypeAlias = "Connection[Any, Any]"


def send(pipe: Pipe, load: Load) -> None:
    """What the process runs."""
    # A terminal's Ctrl-C goes to all processes, but only the parent decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A parent that is gone needs no answer.
    with suppress(BrokenPipeError):
        try:
            uvloop.run(_send(pipe, load))
        except click.ClickException as error:
            pipe.send(Failed(error.format_message()))


async def _send(pipe: Pipe, load: Load) -> None:
    recorder = Recorder(late_after=load.late_after)
    async with ready(load, recorder, lambda: pipe.send(HeldBack())) as run:
        orders = Orders(pipe, run.sender)
        pipe.send(Connected())
        # A glance fits into the pipe, so that a busy parent delays nothing.
        sent = await run.go(pipe.send, at=await orders.beginning)
        orders.close()
    pipe.send(Ended(recorder.tally, sent))


class Orders:
    """Carries out what comes through the pipe; `beginning` is when to begin."""

    def __init__(self, pipe: Pipe, sender: Sender | ClosedLoop) -> None:
        loop = asyncio.get_running_loop()
        self.beginning: asyncio.Future[int] = loop.create_future()
        self._pipe = pipe
        self._sender = sender
        loop.add_reader(pipe.fileno(), self._receive)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def _receive(self) -> None:
        try:
            self._carry_out(self._pipe.recv())
        except EOFError:
            self.close()
            self.beginning.cancel()
            self._sender.stop()
            self._sender.cancel()

    def _carry_out(self, order: Order) -> None:
        match order:
            case "stop":
                self._sender.stop()
            case "cancel":
                self._sender.cancel()
            case at:
                self.beginning.set_result(at)

"""Worker processes that share a siege, and their coordinator."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic_ns
from typing import Any, Literal, TypeAlias

import click
import uvloop

from yais.clients.options import handle_signals
from yais.clients.siege.balancer import connect
from yais.clients.siege.closed_loop import ClosedLoop
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.progress import Snapshot, SnapshotMerger
from yais.clients.siege.runner import LoadConfig, SendCost, Show, make_loop, run_loop, warn_of_drops
from yais.clients.stats.recorder import Recorder, Tally

RunCommand = int | Literal["stop", "cancel"]
"""Begin at this time of the monotonic clock, which all processes share; send no more; end what is in flight."""

# Until the command to begin is with all of them, in nanoseconds.
_NOTICE = 50_000_000

# Seconds in which a process that was killed is gone.
_KILL_TIMEOUT = 10.0

Pipe: TypeAlias = "Connection[Any, Any]"


@dataclass(frozen=True, slots=True)
class Connected:
    """It waits for the command to begin."""


@dataclass(frozen=True, slots=True)
class FirstDrop:
    """It dropped its first request."""


@dataclass(frozen=True, slots=True)
class Ended:
    """All it was to send has ended."""

    tally: Tally
    sent: SendCost


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """It cannot go on, and is about to exit; `text` is for the user."""

    text: str


Message = Connected | FirstDrop | Snapshot | Ended | WorkerFailed

News = Snapshot | FirstDrop


class Coordinator:
    """As many sending processes, each with its share of the load; `show` gets a snapshot of all of them each second."""

    def __init__(self, load: LoadConfig, processes: int, show: Show) -> None:
        self._load = load
        self._merger = SnapshotMerger(processes, show)
        self._workers = [WorkerNode(share, self.receive) for share in load.split(processes)]
        self._has_dropped = False

    async def run(self) -> tuple[Tally, list[SendCost]]:
        """Goes through the schedule, or what a signal leaves of it; returns what all counted, and what it took each.

        Raises click's exception when one of them cannot connect, or dies: its part of the run is lost.
        """
        try:
            with _ignore_signals():
                for worker in self._workers:
                    worker.start()
            await asyncio.gather(*(worker.connected for worker in self._workers))
            with handle_signals(lambda: self._command("stop"), lambda: self._command("cancel")):
                self._command(monotonic_ns() + _NOTICE)
                ends = await asyncio.gather(*(worker.ended for worker in self._workers))
        finally:
            for worker in self._workers:
                worker.close()
        tally = Tally()
        for end in ends:
            tally.merge(end.tally)
        return tally, [end.sent for end in ends]

    def receive(self, process: int, message: News) -> None:
        """A message of one of them."""
        match message:
            case Snapshot():
                self._merger.take(process, message)
            case FirstDrop() if not self._has_dropped:
                self._has_dropped = True
                warn_of_drops(self._load)

    def _command(self, command: RunCommand) -> None:
        for worker in self._workers:
            worker.command(command)


async def run_distributed(load: LoadConfig, processes: int, show: Show) -> tuple[Tally, list[SendCost]]:
    """One siege by several processes, each with its part of the load."""
    return await Coordinator(load, processes, show).run()


class WorkerNode:
    """Sends `load`, and gives `on_message` its index and what it sends; `connected` and `ended` are to be waited for.

    They raise click's exception when the process cannot connect, or dies.
    """

    def __init__(self, load: LoadConfig, on_message: Callable[[int, News], None]) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Ended] = loop.create_future()
        self._index = load.index
        self._on_message = on_message
        # Not forked: gRPC's threads and locks would come along in the state in which they happened to be.
        context = get_context("spawn")
        self._pipe: Pipe
        self._pipe, self._worker_pipe = context.Pipe()
        self._process = context.Process(target=worker_main, args=(self._worker_pipe, load), daemon=True)

    def start(self) -> None:
        self._process.start()
        # With our copy open, its end would never be seen.
        self._worker_pipe.close()
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._receive)

    def command(self, command: RunCommand) -> None:
        # That one has died is noticed where its messages are read.
        with suppress(BrokenPipeError):
            self._pipe.send(command)

    def close(self) -> None:
        """Ends the process, however it is."""
        if self._process.pid is not None:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._process.kill()
            self._process.join(_KILL_TIMEOUT)
        self._pipe.close()

    def _receive(self) -> None:
        try:
            self._take(self._pipe.recv())
        except (EOFError, ConnectionResetError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._process.join(_KILL_TIMEOUT)
            self._fail(f"sending process {self._index} died with exit code {self._process.exitcode}")

    def _take(self, message: Message) -> None:
        match message:
            case Connected():
                self.connected.set_result(None)
            case Ended():
                self.ended.set_result(message)
            case WorkerFailed(text):
                self._fail(text)
            case news:
                self._on_message(self._index, news)

    def _fail(self, text: str) -> None:
        for awaited in (self.connected, self.ended):
            if not awaited.done():
                awaited.set_exception(click.ClickException(text))
                # Of several that fail at once, one is reported.
                awaited.exception()


def worker_main(pipe: Pipe, load: LoadConfig) -> None:
    """What the process runs."""
    # A terminal's Ctrl-C goes to all processes, but only the parent decides what it means.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A parent that is gone needs no answer.
    with suppress(BrokenPipeError):
        try:
            uvloop.run(_work(pipe, load))
        except click.ClickException as error:
            pipe.send(WorkerFailed(error.format_message()))


class CommandReader:
    """Carries out what comes through the pipe; `start_time` is when to begin."""

    def __init__(self, pipe: Pipe, sender: OpenLoop | ClosedLoop) -> None:
        loop = asyncio.get_running_loop()
        self.start_time: asyncio.Future[int] = loop.create_future()
        self._pipe = pipe
        self._sender = sender
        loop.add_reader(pipe.fileno(), self._receive)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def _receive(self) -> None:
        try:
            command: RunCommand = self._pipe.recv()
        except EOFError:
            self.close()
            self.start_time.cancel()
            self._sender.stop()
            self._sender.cancel()
            return
        match command:
            case "stop":
                self._sender.stop()
            case "cancel":
                self._sender.cancel()
            case at:
                self.start_time.set_result(at)


@contextmanager
def _ignore_signals() -> Iterator[None]:
    """Processes that are started meanwhile ignore them from their first moment on."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _work(pipe: Pipe, load: LoadConfig) -> None:
    recorder = Recorder(late_after=load.late_after)
    async with connect(load.endpoint, load.timeout) as balancer:
        sender = make_loop(load, balancer.picker, recorder, lambda: pipe.send(FirstDrop()))
        commands = CommandReader(pipe, sender)
        pipe.send(Connected())
        # A snapshot fits into the pipe, so that a busy parent delays nothing.
        cpu = await run_loop(sender, load.pacer(), pipe.send, at=await commands.start_time)
        commands.close()
        sent = SendCost(cpu, balancer.counts(), balancer.losses)
    pipe.send(Ended(recorder.tally, sent))

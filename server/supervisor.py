"""Supervisor of the workers of a server that is spread over processes, in place of a service of its own."""

import asyncio
import logging
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.ipc import Command, DeviceLoss, MessagePipe, Setup, StartFailure
from yais.server.listening import StartError, port_of, reserve
from yais.server.log import current_settings
from yais.server.metrics.process_stats import ProcessReader, ProcessStats, merge

logger = logging.getLogger(__name__)

# How long each worker may take to be gone once it is killed.
_KILLED_S = 1.0
# A fresh interpreter, since a fork has the locks of this process but not the threads that hold them. -P leaves the
# current folder out of the module path, as it is for the command itself.
_COMMAND = (sys.executable, "-P", "-m", "yais.server.worker")


class Supervisor:
    """Has `config.workers` processes serve on one port, and is asked what a `Service` is asked.

    Half a server would look like a whole one to its load balancer: should a worker end by itself, `on_lost` is called,
    the server is no longer ready, and is to drain.
    """

    is_hanging = False

    def __init__(self, config: Config, on_lost: Callable[[], None]) -> None:
        self.config = config
        self.port = 0
        self.summaries: dict[str, str] = {}
        self.is_ready = False
        self._on_lost = on_lost
        self._workers = [WorkerProcess(number + 1, self._on_worker_lost) for number in range(config.workers)]
        self._reserved: list[socket.socket] = []
        self._process = ProcessReader()

    @property
    def unfinished(self) -> str:
        """What an end at once would leave undone."""
        return f"{len(self._workers)} workers with it"

    async def load(self) -> None:
        """Starts the workers, which load all engines. Raises `StartError`."""
        # Before any worker loads, which may take minutes: a port that is taken is to be an error at once.
        self._reserved = reserve(self.config)
        self.port = port_of(self._reserved)
        log = current_settings()
        setups = [Setup(number + 1, self.config, self.port, log) for number in range(self.config.workers)]
        starts = (worker.start(setup) for worker, setup in zip(self._workers, setups, strict=True))
        self.summaries, *_ = await asyncio.gather(*starts)

    async def listen(self) -> None:
        """Has all workers serve, none before all have loaded. Raises `StartError`."""
        await asyncio.gather(*(worker.listen() for worker in self._workers))
        self.is_ready = True

    async def stats(self) -> ProcessStats:
        """Those of all processes together."""
        own = ProcessStats(process=self._process.read())
        return merge([own, *await asyncio.gather(*(worker.stats() for worker in self._workers))])

    async def drain(self) -> ExitCode:
        """Has all workers drain; the worst of their ends is that of the server."""
        self.is_ready = False
        logger.info("Draining %d workers", len(self._workers))
        # Codes are in the order of how bad they are.
        return max(await asyncio.gather(*(worker.drain() for worker in self._workers)))

    async def abort(self) -> None:
        """Ends what a failed start has begun."""
        self.kill()
        await asyncio.gather(*(worker.wait_gone() for worker in self._workers))

    def kill(self) -> None:
        """Ends all workers that are left at once, and lets go of the port."""
        # All are killed before any is waited for, so that they end at the same time.
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait_killed(_KILLED_S)
        for sock in self._reserved:
            sock.close()

    def _on_worker_lost(self) -> None:
        self.is_ready = False
        self._on_lost()


class WorkerProcess:
    """Worker number `number`. `on_lost` is called when it ends without having been asked to, or with an error.

    It is also called when the worker reports that it has lost a device, and drains.
    """

    def __init__(self, number: int, on_lost: Callable[[], None]) -> None:
        self._number = number
        self._on_lost = on_lost
        self._process: subprocess.Popen[bytes] | None = None
        self._monitoring: asyncio.Task[ExitCode] | None = None
        self._is_serving = self._is_draining = False
        self._end = ""
        # Of the questions that are open, in their order; a worker answers in the same.
        self._answers: deque[asyncio.Future[Any]] = deque()
        self._stats = ProcessStats()

    async def start(self, setup: Setup) -> dict[str, str]:
        """Starts the process and has it load its engines; returns the models' summaries. Raises `StartError`."""
        self._process, sock = _spawn()
        self._pipe = await MessagePipe.open(sock)
        self._monitoring = asyncio.create_task(self._monitor(self._process))
        summaries: dict[str, str] = await self._ask_to_start(setup)
        return summaries

    async def listen(self) -> None:
        """Has it serve. Raises `StartError`."""
        await self._ask_to_start(Command.LISTEN)
        self._is_serving = True

    async def stats(self) -> ProcessStats:
        """Its statistics; what persists of the latest ones when it has gone."""
        with suppress(EOFError):
            await self._ask(Command.READ)
        return self._stats

    async def drain(self) -> ExitCode:
        """Has it drain, and waits for its end."""
        self._is_draining = True
        assert self._monitoring is not None
        self._pipe.send(Command.DRAIN)
        return await self._monitoring

    def kill(self) -> None:
        """Ends it at once, unless it has ended."""
        if self._process is not None:
            self._process.kill()

    async def wait_gone(self) -> None:
        """Waits, after `kill`, until nothing of it goes on in this process."""
        if self._monitoring is not None:
            await self._monitoring

    def wait_killed(self, patience: float) -> None:
        """Waits until it is gone, `patience` seconds at most."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)

    async def _ask_to_start(self, message: object) -> Any:
        try:
            answer = await self._ask(message)
        except EOFError as error:
            raise StartError(f"{error} before it served") from None
        if isinstance(answer, StartFailure):
            raise StartError(answer.reason)
        return answer

    async def _ask(self, message: object) -> Any:
        """The answer to `message`; they come in the order of the questions. Raises EOFError when it has gone."""
        assert self._monitoring is not None
        if self._monitoring.done():
            raise EOFError(self._end)
        answer = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._pipe.send(message)
        return await answer

    async def _monitor(self, process: subprocess.Popen[bytes]) -> ExitCode:
        """Takes what it says until it ends; returns what its end means for the whole server."""
        with suppress(EOFError):
            while True:
                self._on_message(await self._pipe.receive())
        await self._pipe.close()
        # The end of the pipe comes first, but only by moments.
        code = await asyncio.to_thread(process.wait)
        self._stats = self._stats.persistent
        end = f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
        self._end = f"worker {self._number} (process {process.pid}) {end}"
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(EOFError(self._end))
        if self._is_draining and code in (ExitCode.DRAINED, ExitCode.UNANSWERED):
            return ExitCode(code)
        if self._is_serving:
            logger.error("Lost %s", self._end)
            self._on_lost()
        return ExitCode.LOST_DEVICE if code == ExitCode.LOST_DEVICE else ExitCode.LOST_WORKER

    def _on_message(self, message: object) -> None:
        if isinstance(message, DeviceLoss):
            self._on_lost()
            return
        # Kept also without a question: a worker's last ones come as it ends.
        if isinstance(message, ProcessStats):
            self._stats = message
        answer = self._answers.popleft() if self._answers else None
        if answer is not None and not answer.done():
            answer.set_result(message)


def _spawn() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A worker's process, and the end of its pipe that belongs to this one."""
    parent_end, child_end = socket.socketpair()
    # Children inherit what is blocked: a signal to the whole process group, as Ctrl-C is, reaches this process alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        with child_end:
            return subprocess.Popen(_COMMAND, stdin=child_end.fileno()), parent_end
    except OSError as error:
        parent_end.close()
        raise StartError(f"--workers: cannot start a process: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

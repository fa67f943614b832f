"""The workers of a server that is spread over processes, in place of a service of its own."""

import asyncio
import logging
import socket
from collections.abc import Callable

from yais.server.channel import Setup
from yais.server.config import Config
from yais.server.listening import port_of, reserve
from yais.server.metrics.figures import Figures, merged
from yais.server.metrics.process import ProcessReader
from yais.server.process import ExitCode
from yais.server.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

# How long each worker may take to be gone once it is killed.
_KILLED_S = 1.0


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
        self._workers = [WorkerProcess(number + 1, self._lose) for number in range(config.workers)]
        self._reserved: list[socket.socket] = []
        self._process = ProcessReader()

    @property
    def unfinished(self) -> str:
        """What an end at once would leave undone."""
        return f"{len(self._workers)} workers with it"

    async def load(self) -> None:
        """Starts the workers, which load all engines. Raises `StartError`."""
        self._reserved = reserve(self.config)
        self.port = port_of(self._reserved)
        level = logging.getLogger().level
        setups = [Setup(number + 1, self.config, self.port, level) for number in range(self.config.workers)]
        starts = (worker.start(setup) for worker, setup in zip(self._workers, setups, strict=True))
        self.summaries, *_ = await asyncio.gather(*starts)

    async def listen(self) -> None:
        """Has all workers serve, none before all have loaded. Raises `StartError`."""
        await asyncio.gather(*(worker.listen() for worker in self._workers))
        self.is_ready = True

    async def figures(self) -> Figures:
        """Those of all processes together."""
        own = Figures(process=self._process.read())
        return merged([own, *await asyncio.gather(*(worker.figures() for worker in self._workers))])

    async def drain(self) -> ExitCode:
        """Has all workers drain; the worst of their ends is that of the server."""
        self.is_ready = False
        logger.info("Draining %d workers", len(self._workers))
        return max(await asyncio.gather(*(worker.drain() for worker in self._workers)))

    def kill(self) -> None:
        """Ends all workers that are left at once, and lets go of the port."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait_killed(_KILLED_S)
        for sock in self._reserved:
            sock.close()

    def _lose(self) -> None:
        self.is_ready = False
        self._on_lost()

"""Server and its life: it is started, serves, drains and stops, in a loop and a process that may be somebody else's."""

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Self

from prometheus_client.metrics_core import Metric

from yais.engines import needs_gpu
from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.listening import start_error_for
from yais.server.metrics.exposition import MetricsEndpoint
from yais.server.metrics.families import all_families
from yais.server.metrics.gpu import GpuSampler
from yais.server.service import Service
from yais.server.state_log import log_ready, log_starting, log_stopped
from yais.server.supervisor import Supervisor


class Server:
    """Serves `config.engines`: in this process, or in several workers that it supervises.

        async with Server(Config(engines=["model.onnx"], port=0, metrics=0)) as server:
            print(server.port, server.metrics_port, list(server.models))

    All runs on the asyncio loop in which it is started, and in threads of its own. It takes over no signal, configures
    no logging and changes nothing else of the process: that is for `serve`. There can be several in one process, and
    one that has stopped can be started again.

    Known once it has started: `port` of gRPC and `metrics_port`, which the system chose where the configuration has 0,
    and `models`, what there is to say of each by its name. `is_hanging`: whether a run of an engine still goes on in
    this process after `stop`, without a caller.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.port = 0
        self.metrics_port = 0
        self.models: Mapping[str, str] = {}
        self.is_hanging = False
        self._running: Service | Supervisor | None = None

    @property
    def unfinished(self) -> str:
        """What an end at once would leave undone."""
        return self._running.unfinished if self._running is not None else "nothing unfinished"

    async def start(self) -> None:
        """Loads all engines and listens; returns once all is served.

        Raises `EngineError` for an engine that cannot be loaded and `StartError` for a port that cannot be had; nothing
        is left running or listening then.
        """
        if self._running is not None:
            raise RuntimeError("the server has been started already")
        self._lost = asyncio.Event()
        uses_gpu = any(needs_gpu(source.path, self.config.device) for source in self.config.sources)
        self._gpus = GpuSampler(is_expected=uses_gpu)
        service = self._running = (Service if self.config.workers == 1 else Supervisor)(self.config, self._lost.set)
        self._endpoint = MetricsEndpoint(partial(self._families, service), lambda: service.is_ready)
        log_starting(self.config)
        try:
            await service.load()
            # The metrics port before gRPC: once gRPC answers, everything does.
            with start_error_for("--metrics", self.config, self.config.metrics):
                self.metrics_port = await self._endpoint.start(self.config.host, self.config.metrics)
            await service.listen()
        except BaseException:
            await service.abort()
            await self._endpoint.stop()
            self._running = None
            raise
        self.port, self.models = service.port, service.summaries
        self._gpus.start()
        log_ready(self)

    async def stop(self) -> ExitCode:
        """Drains and stops, as the command does after the first signal; returns what it would exit with.

        Accepted requests are answered, for at most `config.drain_timeout`; new ones are refused meanwhile.
        """
        service = self._running
        if service is None:
            raise RuntimeError("the server is not running")
        try:
            code = await service.drain()
            self.is_hanging = service.is_hanging
        finally:
            service.kill()
            # Metrics are served to the end of the drain, which is what they are watched for.
            await self._endpoint.stop()
            self._gpus.stop()
            # With it go its engines.
            self._running = None
        log_stopped(code)
        return code

    async def wait_lost(self) -> None:
        """Waits until a GPU or a worker is lost: the server is no longer ready from then on, and is to be stopped."""
        await self._lost.wait()

    def kill(self) -> None:
        """Ends the workers, if there are any, at once."""
        if self._running is not None:
            self._running.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _families(self, service: Service | Supervisor) -> Iterator[Metric]:
        return all_families(await service.stats(), self._gpus)

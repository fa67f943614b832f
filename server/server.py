"""Server and its life: start, serve until a signal comes, drain, stop."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator

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

logger = logging.getLogger(__name__)


class Server:
    """Serves `config.engines`: in this process, or in several workers that it supervises.

    `metrics_port` and what is asked of the service are known once it has started; after it has stopped, `is_hanging`
    is whether a run of an engine still goes on in this process, without a caller.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics_port = 0
        self.is_hanging = False
        self._is_signalled = False
        self._ending = asyncio.Event()
        uses_gpu = any(needs_gpu(source.path, config.device) for source in config.engines)
        self._gpus = GpuSampler(is_expected=uses_gpu)
        self._service = (Service if config.workers == 1 else Supervisor)(config, self._ending.set)

    @property
    def port(self) -> int:
        return self._service.port

    @property
    def summaries(self) -> dict[str, str]:
        """What there is to say of each model, by its name."""
        return self._service.summaries

    async def serve(self, on_started: Callable[["Server"], None]) -> ExitCode:
        """Starts, calls `on_started`, and runs until SIGTERM or SIGINT; a second signal exits at once.

        Raises `EngineError` or `StartError` when it cannot start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            await self._start()
            on_started(self)
            return await self._run()
        finally:
            self._service.kill()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._is_signalled:
            logger.warning("%s again: exiting at once, %s", number.name, self._service.unfinished)
            self._service.kill()
            # As a shell reports a process that a signal has ended. sys.exit would wait for threads that run engines.
            os._exit(128 + number)
        self._is_signalled = True
        self._ending.set()

    async def _start(self) -> None:
        """The metrics port before gRPC: once gRPC answers, everything does."""
        log_starting(self.config)
        await self._service.load()
        self._endpoint = MetricsEndpoint(self._families, lambda: self._service.is_ready)
        with start_error_for("--metrics", self.config, self.config.metrics):
            self.metrics_port = await self._endpoint.start(self.config.host, self.config.metrics)
        await self._service.listen()
        log_ready(self)

    async def _run(self) -> ExitCode:
        self._gpus.start()
        await self._ending.wait()
        code = await self._service.drain()
        self.is_hanging = self._service.is_hanging
        # Metrics are served to the end of the drain, which is what they are watched for.
        await self._endpoint.stop()
        self._gpus.stop()
        log_stopped(code)
        return code

    async def _families(self) -> Iterator[Metric]:
        return all_families(await self._service.stats(), self._gpus)

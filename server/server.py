"""Server and its life: it is started, serves, drains and stops, in a loop and a process that may be somebody else's."""

import asyncio
from collections.abc import Iterator, Mapping
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
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics_port = 0
        self._service: Service | Supervisor | None = None
        self._endpoint: MetricsEndpoint | None = None

    @property
    def port(self) -> int:
        """The port of gRPC, which the system chose if that of the configuration is 0; 0 before it has started."""
        return self._service.port if self._service is not None else 0

    @property
    def models(self) -> Mapping[str, str]:
        """What there is to say of each model, by its name; none before it has started."""
        return self._service.summaries if self._service is not None else {}

    @property
    def is_hanging(self) -> bool:
        """Whether, after `stop`, a run of an engine still goes on in this process, without a caller."""
        return self._service is not None and self._service.is_hanging

    @property
    def unfinished(self) -> str:
        """What an end at once would leave undone."""
        return self._service.unfinished if self._service is not None else "nothing started"

    async def start(self) -> None:
        """Loads all engines and listens; returns once all is served.

        Raises `EngineError` for an engine that cannot be loaded and `StartError` for a port that cannot be had. Nothing
        is left running or listening then.
        """
        if self._endpoint is not None:
            raise RuntimeError("the server has been started already")
        self._lost = asyncio.Event()
        uses_gpu = any(needs_gpu(source.path, self.config.device) for source in self.config.sources)
        self._gpus = GpuSampler(is_expected=uses_gpu)
        self._service = (Service if self.config.workers == 1 else Supervisor)(self.config, self._lost.set)
        self._endpoint = MetricsEndpoint(self._families, lambda: self._require_service().is_ready)
        log_starting(self.config)
        try:
            await self._service.load()
            # The metrics port before gRPC: once gRPC answers, everything does.
            with start_error_for("--metrics", self.config, self.config.metrics):
                self.metrics_port = await self._endpoint.start(self.config.host, self.config.metrics)
            await self._service.listen()
        except BaseException:
            await self._service.abort()
            await self._endpoint.stop()
            self._service = self._endpoint = None
            raise
        self._gpus.start()
        log_ready(self)

    async def stop(self) -> ExitCode:
        """Drains and stops, as the command does after the first signal; returns what it would exit with.

        Accepted requests are answered, for at most `config.drain_timeout`; new ones are refused meanwhile.
        """
        endpoint, service = self._endpoint, self._require_service()
        if endpoint is None:
            raise RuntimeError("the server is not running")
        self._endpoint = None
        try:
            code = await service.drain()
        finally:
            service.kill()
            # Metrics are served to the end of the drain, which is what they are watched for.
            await endpoint.stop()
            self._gpus.stop()
        log_stopped(code)
        return code

    async def wait_lost(self) -> None:
        """Waits until a GPU or a worker is lost: the server is no longer ready from then on, and is to be stopped."""
        await self._lost.wait()

    def kill(self) -> None:
        """Ends the workers, if there are any, at once."""
        if self._service is not None:
            self._service.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _require_service(self) -> Service | Supervisor:
        if self._service is None:
            raise RuntimeError("the server has not been started")
        return self._service

    async def _families(self) -> Iterator[Metric]:
        return all_families(await self._require_service().stats(), self._gpus)

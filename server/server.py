"""The life of a server: start, serve until a signal comes, drain, stop."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from yais.engines import EngineError, EngineOptions, open_engine
from yais.proto import grpc_service_pb2
from yais.proto.grpc_service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from yais.server.admission import Admission
from yais.server.config import Config, EngineSource
from yais.server.metrics.collector import ServiceCollector
from yais.server.metrics.endpoint import MetricsEndpoint
from yais.server.metrics.gpu import PowerSampler
from yais.server.model import Model, ModelOptions
from yais.server.registry import Registry
from yais.server.services.health import HealthService
from yais.server.services.infer import InferMethod
from yais.server.services.v2 import InferenceService
from yais.server.transport import Registration, grpc_server

logger = logging.getLogger(__name__)

# How long the transport may take to put the last answers on the wire once all work is done.
_FLUSH_S = 1.0
# How long the server goes on refusing after its last answer.
_LATECOMERS_S = 0.1

_INFERENCE = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class StartError(Exception):
    """The server cannot start; the message names what stands in the way."""


class Server:
    """Serves `config.engines`.

    `port` and `metrics_port` are known once it has started; after it has stopped, `is_hanging` tells whether a run of
    an engine still goes on, for nobody.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.models = Registry()
        self.port = self.metrics_port = 0
        self.is_hanging = False
        self._admission = Admission()
        self._power = PowerSampler()
        self._signalled = asyncio.Event()

    async def serve(self, on_started: Callable[["Server"], None]) -> bool:
        """Starts, calls `on_started`, and runs until SIGTERM or SIGINT; a second signal exits at once.

        Returns whether all accepted work was answered. Raises `EngineError` or `StartError` when it cannot start.
        """
        self._capture_signals()
        await self._load_models()
        await self._listen()
        sampling = asyncio.create_task(self._power.run())
        # What is loaded by now stays; no collection needs to go through it while requests wait.
        gc.collect()
        gc.freeze()
        on_started(self)
        await self._signalled.wait()
        drained = await self._drain()
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        return drained

    def _capture_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._signalled.is_set():
            logger.warning(
                "%s again: exiting at once, %d request(s) unanswered", number.name, self._admission.in_flight
            )
            os._exit(128 + number)
        self._signalled.set()

    async def _load_models(self) -> None:
        for source in self.config.engines:
            self.models.add(await asyncio.to_thread(self._load, source, asyncio.get_running_loop()))
        for model in self.models:
            model.start()

    def _load(self, source: EngineSource, loop: asyncio.AbstractEventLoop) -> Model:
        config = self.config
        options = EngineOptions(config.contexts * len(config.engines), config.threads, config.max_batch_size)
        engine = open_engine(source.path, options)
        try:
            return Model(source.name, engine, ModelOptions.of(config), loop)
        except EngineError as error:
            raise EngineError(f"engine '{source.path}': {error}") from error

    async def _listen(self) -> None:
        """The metrics port first: once gRPC answers, everything does."""
        registry = CollectorRegistry()
        registry.register(ServiceCollector(self.models, lambda: self._admission.in_flight, self._power))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._endpoint = MetricsEndpoint(registry, lambda: not self._admission.is_closed)
        try:
            self.metrics_port = await self._endpoint.start(self.config.host, self.config.metrics)
        except OSError as error:
            raise StartError(
                f"--metrics: cannot listen on {self.config.address}:{self.config.metrics}: {error}"
            ) from error
        await self._listen_grpc()

    async def _listen_grpc(self) -> None:
        self._health = HealthService(model.name for model in self.models)
        self._grpc = grpc_server(self.config.transport, self.config.max_message_size)
        infer = InferMethod(self.models, self._admission)
        if self.config.transport == "native":
            infer.recognise_forms()
        registration = Registration(self._grpc, {f"/{_INFERENCE}/ModelInfer": infer})
        add_GRPCInferenceServiceServicer_to_server(InferenceService(self.models, self._admission), registration)
        add_HealthServicer_to_server(self._health, registration)  # type: ignore[arg-type]
        reflected = reflection.aio.ReflectionServicer((_INFERENCE, _HEALTH, reflection.SERVICE_NAME))
        add_ServerReflectionServicer_to_server(reflected, self._grpc)
        try:
            self.port = self._grpc.add_insecure_port(f"{self.config.address}:{self.config.port}")
        except RuntimeError as error:
            raise StartError(f"--port: cannot listen on {self.config.address}:{self.config.port}: {error}") from error
        await self._grpc.start()

    async def _drain(self) -> bool:
        # Load balancers learn first, then new work is refused; what was accepted goes on.
        self._health.drain()
        self._admission.close()
        logger.info("Draining: %d request(s) in flight", self._admission.in_flight)
        drained = await self._finish_accepted()
        # grpc.aio cancels calls that wait to be taken up when it stops; who comes by now is still told why.
        await asyncio.sleep(_LATECOMERS_S)
        self._health.stop()
        await self._grpc.stop(_FLUSH_S if drained else 0)
        closed = [model.close(_FLUSH_S) for model in self.models]
        self.is_hanging = not all(closed)
        await self._endpoint.stop()
        return drained

    async def _finish_accepted(self) -> bool:
        try:
            async with asyncio.timeout(self.config.drain_timeout):
                await self._admission.wait_empty()
        except TimeoutError:
            logger.error(
                "--drain-timeout of %g s is over: dropping %d request(s)",
                self.config.drain_timeout,
                self._admission.in_flight,
            )
            return False
        return True

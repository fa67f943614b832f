"""Service of one process: its models behind gRPC, loaded, served, drained."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic, monotonic_ns

from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from yais.engines import DeviceLostError, EngineError
from yais.proto import grpc_service_pb2, model_config_pb2
from yais.proto.grpc_service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from yais.server.config import Config, EngineSource
from yais.server.errors import LostDeviceError
from yais.server.exit_codes import ExitCode
from yais.server.grpc.health import HealthService
from yais.server.grpc.infer import InferMethod
from yais.server.grpc.server import GrpcServer, Registration, create_server
from yais.server.grpc.v2 import InferenceService
from yais.server.listening import start_error_for
from yais.server.metrics.process_stats import ProcessReader, ProcessStats
from yais.server.models.admission import Admission
from yais.server.models.model import Model, ModelOptions
from yais.server.models.opening import open_batchable
from yais.server.models.registry import Registry
from yais.server.refusals import RefusalLog
from yais.server.state_log import LoadMeter, log_drained
from yais.server.terminal import summarise

logger = logging.getLogger(__name__)

# How long the transport may take to put the last answers on the wire once all work is done.
_FLUSH_S = 1.0
# How long the server goes on refusing after its last answer.
_LATECOMERS_S = 0.1
# How often runs that go on in threads are looked at.
_WATCH_S = 1.0

_INFERENCE = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Service:
    """Serves `config.engines`, on a port of its own or on one that it shares with other processes.

    `port` is known once it listens. `is_hanging` is whether a run of an engine still goes on after the service has
    drained. When the device of an engine is gone, `on_lost` is called: the service is no longer ready, and is to drain.
    """

    def __init__(self, config: Config, on_lost: Callable[[], None], shared_port: int | None = None) -> None:
        self.config = config
        self.models = Registry()
        self.port = 0
        self.is_hanging = False
        self._is_lost = False
        self._on_lost = on_lost
        self._shared_port = shared_port
        self._watching: asyncio.Task[None] | None = None
        self._grpc: GrpcServer | None = None
        self._admission = Admission()
        self._process = ProcessReader()

    @property
    def summaries(self) -> dict[str, str]:
        """What there is to say of each model, by its name."""
        return {model.name: summarise(model) for model in self.models}

    @property
    def is_ready(self) -> bool:
        return not (self._admission.is_closed or self._is_lost)

    @property
    def unfinished(self) -> str:
        """What an end at once would leave undone."""
        return f"{self._admission.in_flight} request(s) unanswered"

    async def load(self) -> None:
        """Loads and warms up all engines. Raises `EngineError`."""
        # One after the other: builds of plans measure kernels, which must have the GPU to themselves.
        for source in self.config.sources:
            model = await asyncio.to_thread(self._load, source, asyncio.get_running_loop())
            model.pool.start()
            self.models.add(model)

    async def listen(self) -> None:
        """Serves from now on. Raises `StartError`."""
        self._health = HealthService(model.name for model in self.models)
        server = self._grpc = create_server(
            self.config.transport, self.config.max_message_size, shares_port=self._shared_port is not None
        )
        self._refusals = RefusalLog(asyncio.get_running_loop())
        infer = InferMethod(self.models, self._admission, self._refusals)
        if self.config.transport == "native":
            infer.cache_templates()
        registration = Registration(server, {f"/{_INFERENCE}/ModelInfer": infer}, self._refusals)
        add_GRPCInferenceServiceServicer_to_server(InferenceService(self.models, self._admission), registration)
        add_HealthServicer_to_server(self._health, registration)  # type: ignore[arg-type]
        names = _INFERENCE, _HEALTH, reflection.SERVICE_NAME
        reflected = reflection.aio.ReflectionServicer(names, _served_contracts())
        add_ServerReflectionServicer_to_server(reflected, server)
        port = self.config.port if self._shared_port is None else self._shared_port
        with start_error_for("--port", self.config, port):
            self.port = server.add_insecure_port(f"{self.config.address}:{port}")
        await server.start()
        on_devices = [model for model in self.models if model.engine.device != "cpu"]
        if on_devices and self.config.run_timeout:
            self._watching = asyncio.create_task(watch(on_devices, self.config.run_timeout, self._on_device_lost))

    async def stats(self) -> ProcessStats:
        recorders = [model.recorder.read() for model in self.models]
        waiting = {model.name: model.pool.waiting for model in self.models}
        return ProcessStats(recorders, waiting, self._admission.in_flight, self._process.read())

    async def drain(self) -> ExitCode:
        """Refuses what comes, finishes what was accepted, and stops."""
        # Load balancers learn first, then new work is refused; what was accepted goes on.
        if self._watching is not None:
            self._watching.cancel()
        self._health.drain()
        self._admission.close()
        logger.info("Draining: %d request(s) in flight", self._admission.in_flight)
        began = monotonic()
        drained = await self._finish_accepted()
        if drained:
            log_drained(began)
        # grpc.aio cancels calls that wait to be taken up when it stops; those that come by now still get the reason.
        await asyncio.sleep(_LATECOMERS_S)
        self._health.stop()
        # Whoever has waited for --drain-timeout in vain is not to wait any longer.
        assert self._grpc is not None
        await self._grpc.stop(_FLUSH_S if drained else 0)
        self._refusals.flush()
        closed = [model.pool.close(_FLUSH_S) for model in self.models]
        self.is_hanging = not all(closed)
        # For a process that goes on. What hangs still uses its engine, and a lost device takes no more calls.
        if not (self.is_hanging or self._is_lost):
            for model in self.models:
                model.engine.close()
        if self._is_lost:
            return ExitCode.LOST_DEVICE
        return ExitCode.DRAINED if drained else ExitCode.UNANSWERED

    async def abort(self) -> None:
        """Ends what a failed start has begun."""
        if self._watching is not None:
            self._watching.cancel()
        if self._grpc is not None:
            await self._grpc.stop(None)
        for model in self.models:
            model.pool.close(_FLUSH_S)
            model.engine.close()

    def kill(self) -> None:
        """Has no process but the one that calls this, which sees to its own end."""

    def _load(self, source: EngineSource, loop: asyncio.AbstractEventLoop) -> Model:
        meter = LoadMeter()
        options, engine_options = (
            ModelOptions.of(self.config.model_settings(source)),
            self.config.engine_options(source),
        )
        engine = open_batchable(source, engine_options)
        try:
            model = Model(source.name, engine, options, loop, self._on_device_lost)
        except EngineError as error:
            if not isinstance(error, DeviceLostError):
                engine.close()
            raise EngineError(f"engine '{source.path}': {error}") from error
        meter.log(model, source.path, engine_options)
        return model

    def _on_device_lost(self, error: LostDeviceError) -> None:
        if not self._is_lost:
            logger.error("The device of an engine is gone: %s", error)
            self._is_lost = True
            self._health.drain()
            self._on_lost()

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


def _served_contracts() -> DescriptorPool:
    """All that reflection can be asked for; neither the default pool nor that of `yais.proto` has the whole of it."""
    # A file's imports have to be in the pool before it.
    pool = DescriptorPool()
    for contract in (model_config_pb2, grpc_service_pb2, health_pb2, reflection_pb2):
        pool.AddSerializedFile(contract.DESCRIPTOR.serialized_pb)
    return pool


async def watch(models: Iterable[Model], longest: float, on_lost: Callable[[LostDeviceError], None]) -> None:
    """Looks at the runs of `models` until one has gone on for `longest` seconds; then calls `on_lost`, and ends."""
    while True:
        await asyncio.sleep(min(_WATCH_S, longest))
        for model in models:
            began = model.pool.oldest_run
            if began is not None and monotonic_ns() - began >= longest * 1e9:
                text = f"a run of '{model.name}' on {model.engine.device} goes on for {longest:g} s (--run-timeout)"
                return on_lost(LostDeviceError(text))

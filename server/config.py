"""Settings of a server with their defaults, checked as a whole before anything is started."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from yais.engines import Device, EngineOptions
from yais.server.bounds import check_bounds
from yais.server.engine_argument import EngineSource, read_engine
from yais.server.grpc.server import TransportName, default_transport, has_native

__all__ = ["Config", "ConfigError", "EngineSource", "ModelSettings"]


class ConfigError(ValueError):
    """Settings that contradict each other or exceed a bound; the message names the flag and the bound."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The settings that hold for one model: its own, and the server's where it has none."""

    contexts: int
    buffers: int
    threads: int | None
    max_batch_size: int | None
    max_queue_delay: float
    max_queue_size: int


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one server, named like the flags of `inference-grpc`, which has its defaults from here.

        Config(engines=["flowers.onnx", "small=mlp.onnx,contexts=2", EngineSource("x", Path("x.onnx"))], port=8001)

    Durations are in seconds, sizes in bytes; None stands for a default that depends on others. `engines`: strings are
    read as `--engine` reads them, a `Path` is a file whose name names the model; all are kept as `EngineSource`.
    Raises `ConfigError`.
    """

    engines: Sequence[EngineSource | Path | str]
    host: str = "0.0.0.0"
    port: int = 50051
    metrics: int = 50078
    workers: int = 1
    contexts: int = 1
    buffers: int | None = None
    threads: int | None = None
    device: Device = "cpu"
    devices: tuple[int, ...] = (0,)
    workspaces: int | None = None
    cuda_graphs: bool = True
    plan_cache: Path | None = None
    run_timeout: float = 60.0
    max_batch_size: int | None = None
    max_queue_delay: float = 0.0
    max_queue_size: int = 1024
    max_message_size: int = 128 * 2**20
    # Asked when it is needed: it loads the transport.
    transport: TransportName = field(default_factory=default_transport)
    drain_timeout: float = 30.0

    def __post_init__(self) -> None:
        try:
            check_bounds(self)
        except ValueError as error:
            raise ConfigError(f"--{error}") from error
        try:
            object.__setattr__(self, "engines", tuple(map(read_engine, self.engines)))
        except ValueError as error:
            raise ConfigError(f"--engine: {error}") from error
        self._check_names()
        self._check_gpus()
        # Two ports that the system chooses differ.
        if self.port and self.port == self.metrics:
            raise ConfigError(f"--metrics: port {self.metrics} is that of --port")
        # Each running context holds a buffer.
        if self.buffers is not None and self.buffers < self.contexts:
            raise ConfigError(f"--buffers: {self.buffers} is less than --contexts {self.contexts}")
        if self.max_queue_delay and self.max_batch_size in (0, 1):
            raise ConfigError(
                f"--max-queue-delay has no effect when batching is off (--max-batch-size {self.max_batch_size})"
            )
        for source in self.sources:
            self._check_model(source)
        if self.transport == "native" and not has_native():
            raise ConfigError("--transport: 'native' was not built into this installation; 'grpcio' is there")

    @property
    def sources(self) -> tuple[EngineSource, ...]:
        """`engines`, all of one type."""
        return cast("tuple[EngineSource, ...]", self.engines)

    @property
    def address(self) -> str:
        """The host as it stands before a port; an IPv6 address has brackets there."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def model_settings(self, source: EngineSource) -> ModelSettings:
        """What holds for the model of `source`."""
        settings = {}
        for name in ModelSettings.__dataclass_fields__:
            own = getattr(source, name)
            settings[name] = getattr(self, name) if own is None else own
        # One more being filled and one being read than are running, unless set.
        if settings["buffers"] is None:
            settings["buffers"] = settings["contexts"] + 2
        return ModelSettings(**settings)

    def engine_options(self, source: EngineSource) -> EngineOptions:
        """How the engine of `source` is opened."""
        model = self.model_settings(source)
        return EngineOptions(
            contexts=model.contexts,
            runs=sum(self.model_settings(each).contexts for each in self.sources) * self.workers,
            threads=model.threads,
            max_batch_size=model.max_batch_size,
            device=self.device,
            devices=self.devices,
            # The bound is for all models; one of fewer contexts has no use for as many.
            workspaces=self.workspaces and min(self.workspaces, model.contexts),
            graphs=self.cuda_graphs,
            plan_cache=self.plan_cache,
        )

    def _check_names(self) -> None:
        if not self.engines:
            raise ConfigError("--engine: there is none to serve")
        repeated = [name for name, count in Counter(source.name for source in self.sources).items() if count > 1]
        if repeated:
            raise ConfigError(f"--engine: the name '{repeated[0]}' is used more than once; give each as NAME=PATH")

    def _check_gpus(self) -> None:
        repeated = [gpu for gpu, count in Counter(self.devices).items() if count > 1]
        if repeated:
            raise ConfigError(f"--devices: GPU {repeated[0]} is named more than once")
        # Contexts are dealt out to the GPUs in turn, so that one of these would have none.
        if len(self.devices) > self.contexts:
            raise ConfigError(f"--devices: {len(self.devices)} GPUs are more than --contexts {self.contexts}")
        if self.workspaces is not None and self.workspaces > self.contexts:
            raise ConfigError(f"--workspaces: {self.workspaces} is more than --contexts {self.contexts}")

    def _check_model(self, source: EngineSource) -> None:
        """As above, for a model with settings of its own."""
        model, prefix = self.model_settings(source), f"--engine {source.name}"
        if model.buffers < model.contexts:
            raise ConfigError(f"{prefix}: buffers {model.buffers} is less than contexts {model.contexts}")
        if len(self.devices) > model.contexts:
            raise ConfigError(f"{prefix}: contexts {model.contexts} is less than the {len(self.devices)} --devices")
        if source.max_queue_delay and model.max_batch_size in (0, 1):
            raise ConfigError(
                f"{prefix}: max-queue-delay has no effect when batching is off (max-batch-size {model.max_batch_size})"
            )

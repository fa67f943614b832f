"""Settings of a server, checked as a whole before anything is started."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from yais.engines import Device, EngineOptions
from yais.server.grpc.server import TransportName, has_native


class ConfigError(ValueError):
    """Settings that contradict each other or exceed a bound; the message names the flag and the bound."""


@dataclass(frozen=True, slots=True)
class EngineSource:
    """A model's name, and the file of its engine."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one server; durations in seconds, sizes in bytes, None where the default depends on others."""

    engines: tuple[EngineSource, ...]
    host: str
    port: int
    metrics: int
    contexts: int
    buffers: int | None
    threads: int | None
    max_batch_size: int | None
    max_queue_delay: float
    max_queue_size: int
    max_message_size: int
    drain_timeout: float
    transport: TransportName
    workers: int
    device: Device
    devices: tuple[int, ...]
    workspaces: int | None
    cuda_graphs: bool
    plan_cache: Path | None
    run_timeout: float

    def __post_init__(self) -> None:
        repeated = [name for name, count in Counter(source.name for source in self.engines).items() if count > 1]
        if repeated:
            raise ConfigError(f"--engine: the name '{repeated[0]}' is used more than once; give each as NAME=PATH")
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

        repeated_gpus = [gpu for gpu, count in Counter(self.devices).items() if count > 1]
        if repeated_gpus:
            raise ConfigError(f"--devices: GPU {repeated_gpus[0]} is named more than once")
        # Contexts are dealt out to the GPUs in turn, so that one of these would have none.
        if len(self.devices) > self.contexts:
            raise ConfigError(f"--devices: {len(self.devices)} GPUs are more than --contexts {self.contexts}")
        if self.workspaces is not None and self.workspaces > self.contexts:
            raise ConfigError(f"--workspaces: {self.workspaces} is more than --contexts {self.contexts}")
        if self.transport == "native" and not has_native():
            raise ConfigError("--transport: 'native' was not built into this installation; 'grpcio' is there")

    @property
    def address(self) -> str:
        """The host as it stands before a port; an IPv6 address has brackets there."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def engine_options(self) -> EngineOptions:
        """How each engine is opened."""
        return EngineOptions(
            contexts=self.contexts,
            runs=self.contexts * len(self.engines) * self.workers,
            threads=self.threads,
            max_batch_size=self.max_batch_size,
            device=self.device,
            devices=self.devices,
            workspaces=self.workspaces,
            graphs=self.cuda_graphs,
            plan_cache=self.plan_cache,
        )

    @property
    def buffers_per_model(self) -> int:
        """One more being filled and one being read than are running, unless set."""
        return self.buffers if self.buffers is not None else self.contexts + 2

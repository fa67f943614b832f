"""Simulated machine: its devices, what has been done on them, and what has been done wrong."""

import atexit
import json
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulation import errors
from simulation.capture import Capture, Executable, Graph
from simulation.errors import CudaError
from simulation.failures import Failures
from simulation.memory import DeviceMemory, HostMemory
from simulation.work import Event, Operation, Scheduler, Stream

_KEPT = 200_000
_GIGABYTE = 2**30


@dataclass(eq=False)
class Device:
    """A GPU with its primary context.

    `error` is sticky: every call fails with it until the context is reset. `lost`: not even then.
    `generation` counts how often the context was made; what was made in another generation is gone.
    """

    number: int
    name: str
    capability: tuple[int, int]
    memory: DeviceMemory
    failures: Failures
    error: int = 0
    lost: int = 0
    retained: int = 0
    is_active: bool = False
    generation: int = 0

    @property
    def context(self) -> int:
        """The handle of its primary context; it is the same one when it is made again."""
        return 0x6600_0000_0000 + self.number * 0x1000

    def is_sound(self, generation: int) -> bool:
        """Whether what was made in that generation is there, and can be given back."""
        return generation == self.generation and not (self.error or self.lost)

    def fail(self, code: int) -> None:
        self.error = self.error or code

    def check(self, name: str) -> None:
        """Raises when the device is out of order, or if this call is one that is to fail."""
        failure = self.failures.take(name, self.number)
        if failure:
            self.lost = failure.code if failure.lost else self.lost
            raise CudaError(failure.code)
        if self.lost or self.error:
            raise CudaError(self.lost or self.error)


@dataclass(eq=False)
class Machine:
    """What there is, by handle. `recorded`: how many executables there ever were. `gone`: what ended with its context.

    `calls`: in the order in which they were made; `done`: what the devices have run."""

    devices: list[Device]
    driver_version: int
    failures: Failures
    host: HostMemory = field(default_factory=HostMemory)
    process: int = 0
    events: dict[int, Event] = field(default_factory=dict)
    graphs: dict[int, Graph] = field(default_factory=dict)
    executables: dict[int, Executable] = field(default_factory=dict)
    recorded: int = 0
    captures: list[Capture] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    calls: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    done: deque[tuple[Any, ...]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.violations.append, self._finished)

    @property
    def streams(self) -> dict[int, Stream]:
        return self.scheduler.streams

    def _finished(self, operation: Operation) -> None:
        self.done.append(operation.entry)

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """The calls of these names, in order."""
        return [call for call in list(self.calls) if call[0] in names]

    def note_stale(self, handle: int) -> None:
        """CUDA does not look at what it is given: what is gone may be anything by now, or crash the process."""
        if handle in self.gone:
            self.violations.append(f"{handle:#x} was used after its context had ended")

    def lose(self, number: int = 0, code: int = errors.UNKNOWN) -> None:
        """The device falls off the bus."""
        self.devices[number].lost = code

    def destroy(self, device: Device) -> None:
        """What CUDA does with all that a context holds when it is destroyed or reset."""
        for objects in (self.streams, self.events, self.executables):
            self.gone |= {handle for handle, each in objects.items() if each.device is device}
        self.scheduler.discard(device)
        device.memory.clear()
        device.error, device.is_active = 0, False
        device.generation += 1
        self.captures = [capture for capture in self.captures if capture.stream.device is not device]
        self.events = {handle: event for handle, event in self.events.items() if event.device is not device}
        self.executables = {handle: made for handle, made in self.executables.items() if made.device is not device}
        self.host.clear(device.context)

    def report(self) -> dict[str, Any]:
        """What is left at the end, empty when everything was given back and nothing done wrong; and `recorded`."""
        return {
            "violations": list(self.violations),
            "memory": {device.number: device.memory.used for device in self.devices if device.memory.used},
            "owners": sorted({allocation.owner for device in self.devices for allocation in device.memory}),
            "host": sum(region.nbytes for region in self.host),
            "streams": len(self.streams),
            "events": len(self.events),
            "executables": len(self.executables),
            "recorded": self.recorded,
        }


def make_machine(
    gpus: int | None = None,
    memory: int | None = None,
    capability: tuple[int, int] | None = None,
    driver_version: int | None = None,
) -> Machine:
    """A machine of so many equal GPUs; what is not given is taken from the environment."""
    variables = os.environ
    count = int(variables.get("YAIS_SIMULATED_GPUS", "1")) if gpus is None else gpus
    size = int(variables.get("YAIS_SIMULATED_MEMORY", str(8 * _GIGABYTE))) if memory is None else memory
    major, minor = capability or tuple(map(int, variables.get("YAIS_SIMULATED_CAPABILITY", "8.0").split(".")))
    failures = Failures.from_environment()
    devices = [
        Device(number, "Simulated GPU", (major, minor), DeviceMemory(number, size), failures) for number in range(count)
    ]
    version = int(variables.get("YAIS_SIMULATED_DRIVER", "12080")) if driver_version is None else driver_version
    return Machine(devices, version, failures)


def has_driver() -> bool:
    """`YAIS_SIMULATED_DRIVER=0` is a machine without a driver."""
    return os.environ.get("YAIS_SIMULATED_DRIVER") != "0"


def report_at_exit(machine: Machine) -> None:
    """Adds the report, in a line, to the file that YAIS_SIMULATED_REPORT names, when the process ends."""

    def report() -> None:
        with Path(path).open("a") as file:
            file.write(json.dumps(machine.report()) + "\n")

    path = os.environ.get("YAIS_SIMULATED_REPORT", "")
    if path:
        atexit.register(report)

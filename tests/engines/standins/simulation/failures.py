"""Calls and operations that are made to fail."""

import os
from dataclasses import dataclass, field
from threading import Lock

from simulation import errors
from simulation.errors import CudaError


@dataclass
class Failure:
    """`after`: how often it does not happen first. `lost`: the device is gone from then on."""

    name: str
    code: int
    times: int = 1
    after: int = 0
    device: int | None = None
    lost: bool = False

    @classmethod
    def parse(cls, text: str) -> "Failure":
        """From `NAME:CODE`, and then any of `:after=N`, `:times=N`, `:device=N` and `:lost`."""
        name, code, *options = text.split(":")
        failure = cls(name, int(code))
        for key, _, value in (option.partition("=") for option in options):
            if key not in ("after", "times", "device", "lost"):
                raise ValueError(f"YAIS_SIMULATED_FAILURE: {text!r} has an unknown option {key!r}")
            setattr(failure, key, int(value) if value else True)
        return failure


@dataclass
class Failures:
    """Which call or operation fails next."""

    planned: list[Failure] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def from_environment(cls) -> "Failures":
        text = os.environ.get("YAIS_SIMULATED_FAILURE", "")
        return cls([Failure.parse(part) for part in text.split(";") if part])

    def take(self, name: str, device: int | None) -> Failure | None:
        """The failure that is due now, if one is."""
        with self._lock:
            for failure in self.planned:
                if failure.name == name and failure.times and failure.device in (None, device):
                    if failure.after:
                        failure.after -= 1
                    else:
                        failure.times -= 1
                        return failure
        return None

    def fail(self, name: str, code: int, times: int = 1, after: int = 0, device: int | None = None) -> None:
        if code not in errors.RESULTS:
            raise ValueError(f"{code} is no result of CUDA's that the stand-in knows")
        with self._lock:
            self.planned.append(Failure(name, code, times, after, device))

    def check(self, name: str) -> None:
        """For calls that are of no device."""
        failure = self.take(name, None)
        if failure:
            raise CudaError(failure.code)

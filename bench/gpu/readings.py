"""What NVML tells of the GPU while something runs on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import fmean
from threading import Event, Thread

import pynvml

from yais.server.metrics.nvml import GpuReading, Nvml, NvmlError

_PERIOD_S = 0.1
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Means:
    """Of a stretch of time; None is what NVML does not tell. Power is in watts, utilization of 1."""

    power: float | None
    utilization: float | None
    memory_mib: float | None
    sm_mhz: float | None


class Watch:
    """Samples of the first GPU that this process may use, taken on a thread while it is entered."""

    def __init__(self) -> None:
        self._nvml = Nvml()
        self._samples: list[tuple[GpuReading, float | None]] = []
        self._stopping = Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Without a driver there are no samples."""
        thread = Thread(target=self._sample, name="readings")
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def means(self) -> Means:
        """Of the samples since the last call. The first is left out: NVML's rates are those of some time before."""
        samples, self._samples = self._samples[1:], []

        def mean(told: Callable[[GpuReading], float | None]) -> float | None:
            return _mean([told(reading) for reading, _ in samples])

        memory = mean(lambda reading: reading.memory_used)
        return Means(
            mean(lambda reading: reading.power_usage),
            mean(lambda reading: reading.utilization),
            None if memory is None else memory / _MIB,
            _mean([clock for _, clock in samples]),
        )

    def _sample(self) -> None:
        with suppress(NvmlError):
            self._nvml.open()
            while not self._stopping.wait(_PERIOD_S):
                self._samples.extend((reading, _sm_clock(reading)) for reading in self._nvml.read()[:1])
            self._nvml.close()


def memory_mib() -> float | None:
    """What is taken of the GPU's memory, by whomever; None where NVML does not tell."""
    nvml = Nvml()
    try:
        readings = nvml.read()
    except NvmlError:
        return None
    nvml.close()
    used = readings[0].memory_used if readings else None
    return None if used is None else used / _MIB


def _sm_clock(reading: GpuReading) -> float | None:
    with suppress(pynvml.NVMLError):
        asked = pynvml.nvmlDeviceGetHandleByUUID(reading.uuid)
        return float(pynvml.nvmlDeviceGetClockInfo(asked, pynvml.NVML_CLOCK_SM))
    return None


def _mean(values: list[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return fmean(told) if told else None

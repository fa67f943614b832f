"""GPU families, sampled off the hot path: the power under YAIS's name, and Triton's `nv_gpu_*`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from threading import Event, Thread
from time import monotonic

from prometheus_client.metrics_core import Metric

from yais.server.metrics.nvml import GpuReading, Nvml, NvmlError

logger = logging.getLogger(__name__)

# As often as Triton asks NVML by default (--metrics-interval-ms=2000).
PERIOD_S = 2.0

# Name, help text, and what it is of a reading. Triton's bound notwithstanding, a busy GPU's utilization is 1.
_TRITONS_GAUGES = (
    ("nv_gpu_utilization", "GPU utilization rate [0.0 - 1.0)", "utilization"),
    ("nv_gpu_memory_total_bytes", "GPU total memory, in bytes", "memory_total"),
    ("nv_gpu_memory_used_bytes", "GPU used memory, in bytes", "memory_used"),
    ("nv_gpu_power_usage", "GPU power usage in watts", "power_usage"),
    ("nv_gpu_power_limit", "GPU power management limit in watts", "power_limit"),
)
_TRITONS_ENERGY = "GPU energy consumption in joules since the Triton Server started"


class GpuSampler:
    """The families of the latest sample; none without a GPU or driver, and none of what no GPU reports.

    That there is no driver is worth a line of the log only where a GPU `is_expected`.
    """

    def __init__(self, nvml: Nvml | None = None, is_expected: bool = True) -> None:
        self._nvml = nvml or Nvml()
        self._missing_level = logging.WARNING if is_expected else logging.DEBUG
        self._energy = EnergyMeter()
        self._families: list[Metric] = []
        self._is_lost = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="gpus", daemon=True)

    def start(self) -> None:
        """Samples from now on, in a thread that keeps no process alive: a call to a broken driver may never return."""
        self._thread.start()

    def stop(self) -> None:
        """Lets go of NVML, unless it hangs."""
        self._stopping.set()
        self._thread.join(PERIOD_S)

    def families(self) -> Sequence[Metric]:
        return self._families

    def _run(self) -> None:
        """Ends at once where there is no driver."""
        try:
            self._nvml.open()
        except NvmlError as error:
            logger.log(self._missing_level, "No GPU readings: %s", error)
            return
        # Before the first period is over, so that the first scrape already has the GPUs.
        self.sample(monotonic())
        while not self._stopping.wait(PERIOD_S):
            self.sample(monotonic())
        self._nvml.close()

    def sample(self, now: float) -> None:
        """Asks NVML, which may take milliseconds, at the moment `now` in seconds."""
        readings: list[GpuReading] = []
        try:
            readings = self._nvml.read()
        except NvmlError as error:
            # Logged once: a driver may be gone for hours.
            if not self._is_lost:
                logger.warning("The GPU readings are lost: %s", error)
            self._is_lost = True
        else:
            if self._is_lost:
                logger.info("The GPU readings are back")
            self._is_lost = False
        joules = self._energy.add(readings, now)
        # Replaced as a whole: scrapes read it on another thread.
        self._families = list(_families(readings, joules))


def _families(readings: Sequence[GpuReading], joules: Mapping[str, float]) -> Iterator[Metric]:
    power = {reading.name: reading.power_usage for reading in readings}
    yield from _family("yais_gpus_power_usage", "gauge", "Power draw of each GPU, in watts", "gpu", power)
    for name, text, quantity in _TRITONS_GAUGES:
        values = {reading.uuid: getattr(reading, quantity) for reading in readings}
        yield from _family(name, "gauge", text, "gpu_uuid", values)
    yield from _family("nv_energy_consumption", "counter", _TRITONS_ENERGY, "gpu_uuid", joules)


def _family(name: str, kind: str, text: str, label: str, values: Mapping[str, float | None]) -> Iterator[Metric]:
    """No family if there are no values: dashboards show "no data" for it, and not 0."""
    family = Metric(name, text, kind)
    for device, value in values.items():
        if value is not None:
            family.add_sample(name, {label: device}, value)
    if family.samples:
        yield family


class EnergyMeter:
    """Adds up joules by UUID: a GPU's own count, or its power over time where it has never reported a count."""

    def __init__(self) -> None:
        self._joules: dict[str, float] = {}
        self._counts: dict[str, float] = {}
        self._watts: dict[str, float] = {}
        self._read_at = 0.0

    def add(self, readings: Sequence[GpuReading], now: float) -> dict[str, float]:
        """Takes the readings of the moment `now`, in seconds; returns the joules of those that reported any."""
        elapsed, self._read_at = now - self._read_at, now
        # A GPU that failed to answer keeps its sum, and is left out of this sample.
        spent = {reading.uuid: self._spent(reading, elapsed) for reading in readings}
        self._watts = {reading.uuid: reading.power_usage for reading in readings if reading.power_usage is not None}
        known = {uuid: joules for uuid, joules in spent.items() if joules is not None}
        for uuid, joules in known.items():
            self._joules[uuid] = self._joules.get(uuid, 0) + joules
        # NVML counts millijoules; more digits would be those of the sum of floats.
        return {uuid: round(self._joules[uuid], 3) for uuid in known}

    def _spent(self, reading: GpuReading, elapsed: float) -> float | None:
        """Since the reading before, or since the last count if some failed in between."""
        if reading.energy is not None:
            before = self._counts.get(reading.uuid, reading.energy)
            self._counts[reading.uuid] = reading.energy
            # The count starts again from 0 when the driver is loaded again.
            return reading.energy - before if reading.energy >= before else reading.energy
        # Once a GPU has had a count, power over time would be counted again by the next one.
        if reading.power_usage is None or reading.uuid in self._counts:
            return None
        # The trapezoid between two samples; there is none before the second.
        last = self._watts.get(reading.uuid)
        return 0 if last is None else (last + reading.power_usage) / 2 * elapsed

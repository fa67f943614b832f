"""GPU power from NVML, sampled off the hot path. A machine without a GPU or driver simply has no such series."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pynvml
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

logger = logging.getLogger(__name__)

PERIOD_S = 2.0


class PowerSampler:
    """The latest power draw of every GPU, in watts. `nvml` is the module to ask."""

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._watts: dict[str, float] = {}

    async def run(self) -> None:
        """Samples until cancelled; returns at once where NVML finds no driver."""
        try:
            await asyncio.to_thread(self._nvml.nvmlInit)
        except self._nvml.NVMLError as error:
            logger.info("No GPU power readings: %s", error)
            return
        try:
            while True:
                self._watts = await asyncio.to_thread(self._read)
                await asyncio.sleep(PERIOD_S)
        finally:
            self._nvml.nvmlShutdown()

    def families(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("yais_gpus_power_usage", "Power draw of each GPU, in watts", labels=["gpu"])
        for gpu, watts in self._watts.items():
            family.add_metric([gpu], watts)
        if self._watts:
            yield family

    def _read(self) -> dict[str, float]:
        """Asks every GPU; one that cannot tell is left out, and may come back."""
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            logger.log(logging.WARNING if self._watts else logging.DEBUG, "NVML cannot count the GPUs: %s", error)
            return {}
        readings = ((str(index), self._watts_of(index)) for index in range(count))
        return {gpu: watts for gpu, watts in readings if watts is not None}

    def _watts_of(self, index: int) -> float | None:
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            return float(self._nvml.nvmlDeviceGetPowerUsage(handle)) / 1000
        except self._nvml.NVMLError as error:
            logger.debug("GPU %d tells no power: %s", index, error)
            return None

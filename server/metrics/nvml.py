"""NVML readings of the GPUs that this process may use, and of their MIG instances. Nothing else talks to NVML."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pynvml

logger = logging.getLogger(__name__)

# What NVML has in milliwatts and millijoules.
_IN_THOUSANDTHS = {
    "power_usage": "nvmlDeviceGetPowerUsage",
    "power_limit": "nvmlDeviceGetPowerManagementLimit",
    "energy": "nvmlDeviceGetTotalEnergyConsumption",
}


class NvmlError(Exception):
    """NVML does not answer: there is no driver, or it has gone."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """Readings of a GPU or a MIG instance; None is what it does not report."""

    name: str
    uuid: str
    power_usage: float | None = None  # watts
    power_limit: float | None = None  # watts
    energy: float | None = None  # joules since the driver was loaded
    utilization: float | None = None  # 0 to 1
    memory_total: float | None = None  # bytes
    memory_used: float | None = None  # bytes, without what the driver keeps for itself

    @property
    def is_empty(self) -> bool:
        return self == GpuReading(self.name, self.uuid)


@dataclass(frozen=True, slots=True)
class NvmlDevice:
    """A GPU, named by NVML's index, or a MIG instance of the GPU named `parent`; `handle` is what NVML knows it by."""

    name: str
    uuid: str
    parent: str | None = None
    handle: Any = None


class Nvml:
    """NVML through `library`, for the GPUs that `environment` leaves to this process."""

    def __init__(self, library: Any = pynvml, environment: Mapping[str, str] = os.environ) -> None:
        self._library = library
        self._environment = environment
        self._is_open = False

    def open(self) -> None:
        """Raises `NvmlError` where there is no driver."""
        try:
            self._library.nvmlInit()
        except self._library.NVMLError as error:
            raise NvmlError(str(error)) from error
        self._is_open = True

    def close(self) -> None:
        self._is_open = False
        # Where the driver has gone there is nothing left to release.
        with suppress(self._library.NVMLError):
            self._library.nvmlShutdown()

    def read(self) -> list[GpuReading]:
        """Readings of all that report any; raises `NvmlError` when none does any more.

        A driver that was loaded again reports nothing until NVML is opened again, which the next call does then.
        """
        if not self._is_open:
            self.open()
        try:
            count = self._library.nvmlDeviceGetCount()
            devices = [device for index in range(count) for device in self._devices(index)]
            split = {device.parent for device in devices}
            asked = visible_devices(devices, self._entries())
            answers = [self._reading(device, device.name in split) for device in asked]
            readings = [reading for reading in answers if not reading.is_empty]
            # Without a driver that answers, GPUs are still counted. That no GPU is visible is no reason to open NVML
            # again.
            if count and not readings and (asked or not devices):
                raise NvmlError("no GPU tells anything")
        except (self._library.NVMLError, NvmlError) as error:
            self.close()
            raise NvmlError(str(error)) from error
        return readings

    def _entries(self) -> list[str] | None:
        """Of CUDA_VISIBLE_DEVICES, with every MIG instance by its UUID."""
        setting = self._environment.get("CUDA_VISIBLE_DEVICES")
        if setting is None:
            return None
        entries = [entry.strip() for entry in setting.split(",")]
        for place, entry in enumerate(entries):
            # The older name of an instance, MIG-GPU-<UUID of its GPU>/1/0, which NVML and CUDA still know.
            if entry.startswith("MIG-GPU-"):
                entries[place] = self._uuid(self._ask("nvmlDeviceGetHandleByUUID", entry)) or entry
        return entries

    def _devices(self, index: int) -> Iterator[NvmlDevice]:
        """The GPU and its MIG instances."""
        gpu = self._ask("nvmlDeviceGetHandleByIndex", index)
        yield from self._device(str(index), gpu)
        for place in range(self._ask("nvmlDeviceGetMaxMigDeviceCount", gpu) or 0):
            # A place may be free, and has no handle then.
            instance = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu, place)
            yield from self._device(f"{index}:{place}", instance, parent=str(index))

    def _device(self, name: str, handle: Any, parent: str | None = None) -> Iterator[NvmlDevice]:
        uuid = self._uuid(handle)
        if uuid is not None:
            yield NvmlDevice(name, uuid, parent, handle)

    def _uuid(self, handle: Any) -> str | None:
        # Older versions of nvidia-ml-py return bytes.
        uuid = self._ask("nvmlDeviceGetUUID", handle)
        return uuid.decode() if isinstance(uuid, bytes) else uuid

    def _reading(self, device: NvmlDevice, is_split: bool) -> GpuReading:
        """Power and energy are the whole GPU's; the rest is its instances' if it is split: sums count nothing twice."""
        handle = device.handle
        quantities: dict[str, float | None] = {}
        if device.parent is None:
            for quantity, function in _IN_THOUSANDTHS.items():
                value = self._ask(function, handle)
                quantities[quantity] = None if value is None else value / 1000
        if not is_split:
            rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
            # As nvidia-smi and DCGM ask for it: version 1 counts the driver's part as used.
            memory = self._ask("nvmlDeviceGetMemoryInfo", handle, self._library.nvmlMemory_v2)
            quantities["utilization"] = None if rates is None else rates.gpu / 100
            quantities["memory_total"] = None if memory is None else memory.total
            quantities["memory_used"] = None if memory is None else memory.used
        return GpuReading(device.name, device.uuid, **quantities)

    def _ask(self, function: str, *arguments: Any) -> Any:
        """None where NVML has no answer, and of a handle for which it had none."""
        if None in arguments:
            return None
        try:
            return getattr(self._library, function)(*arguments)
        except self._library.NVMLError as error:
            logger.debug("%s tells nothing: %s", function, error)
            return None


def visible_devices(devices: Sequence[NvmlDevice], entries: Sequence[str] | None) -> list[NvmlDevice]:
    """Those of `devices` that the variable's `entries` leave, which are indices or beginnings of UUIDs; all without it.

    A GPU comes with its MIG instances. An instance comes with its GPU, which alone reports power and energy, and
    without the instances beside it.
    """
    if entries is None:
        return list(devices)
    named: set[str] = set()
    for entry in entries:
        if entry.startswith(("GPU-", "MIG-")):
            found = [device.name for device in devices if device.uuid.startswith(entry)]
        else:
            found = [device.name for device in devices if device.parent is None and device.name == entry]
        if len(found) != 1:
            # CUDA ignores all that follows an entry which names no device, or more than one.
            break
        named.update(found)
    whole = {device.parent for device in devices if device.name in named}
    return [device for device in devices if device.name in named | whole or device.parent in named]

"""NVML without a driver."""

from dataclasses import dataclass, field
from typing import TypeVar

import pynvml

GIB = 2**30

Told = TypeVar("Told")


@dataclass(eq=False)
class FakeGpu:
    """A GPU or MIG instance, and a handle to itself, in NVML's units; None is what it does not support."""

    uuid: str | None = "GPU-0"
    milliwatts: int | None = None
    limit: int | None = None
    millijoules: int | None = None
    percent: int | None = None
    total: int | None = None
    used: int = 0
    places: list["FakeGpu | None"] = field(default_factory=list)


class FakeNvml:
    """pynvml's functions over some GPUs.

    `broken` maps the name of a function, or of one and the UUID of the GPU that it is asked of, to an error code.
    """

    NVMLError = pynvml.NVMLError
    nvmlMemory_v2 = pynvml.nvmlMemory_v2  # noqa: N815

    def __init__(self, *gpus: FakeGpu, tells_bytes: bool = False) -> None:
        self.gpus = list(gpus)
        self.broken: dict[str | tuple[str, str | None], int] = {}
        self.calls: list[str] = []
        self.is_open = False
        self._tells_bytes = tells_bytes

    def nvmlInit(self) -> None:
        self._call("nvmlInit", is_open=True)
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self._call("nvmlShutdown")
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        self._call("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        self._call("nvmlDeviceGetHandleByIndex", self.gpus[index])
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:
        """Also by the older form of an instance's name, with its place as the number of its GPU instance."""
        self._call("nvmlDeviceGetHandleByUUID")
        for gpu in self.gpus:
            names = {gpu.uuid: gpu} | {f"MIG-{gpu.uuid}/{i}/0": each for i, each in enumerate(gpu.places) if each}
            if uuid in names:
                return names[uuid]
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUUID(self, handle: FakeGpu) -> str | bytes:
        uuid: str = self._told("nvmlDeviceGetUUID", handle, handle.uuid)
        return uuid.encode() if self._tells_bytes else uuid

    def nvmlDeviceGetMaxMigDeviceCount(self, device: FakeGpu) -> int:
        self._call("nvmlDeviceGetMaxMigDeviceCount", device)
        return len(device.places)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: FakeGpu, index: int) -> FakeGpu:
        self._call("nvmlDeviceGetMigDeviceHandleByIndex", device)
        instance = device.places[index]
        if instance is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return instance

    def nvmlDeviceGetPowerUsage(self, handle: FakeGpu) -> int:
        return self._told("nvmlDeviceGetPowerUsage", handle, handle.milliwatts)

    def nvmlDeviceGetPowerManagementLimit(self, handle: FakeGpu) -> int:
        return self._told("nvmlDeviceGetPowerManagementLimit", handle, handle.limit)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: FakeGpu) -> int:
        return self._told("nvmlDeviceGetTotalEnergyConsumption", handle, handle.millijoules)

    def nvmlDeviceGetUtilizationRates(self, handle: FakeGpu) -> pynvml.c_nvmlUtilization_t:
        return pynvml.c_nvmlUtilization_t(self._told("nvmlDeviceGetUtilizationRates", handle, handle.percent), 99)

    def nvmlDeviceGetMemoryInfo(self, handle: FakeGpu, version: int | None = None) -> pynvml.c_nvmlMemory_v2_t:
        total = self._told("nvmlDeviceGetMemoryInfo", handle, handle.total)
        if version != self.nvmlMemory_v2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return pynvml.c_nvmlMemory_v2_t(version, total, GIB, total - handle.used - GIB, handle.used)

    def _told(self, function: str, gpu: FakeGpu, value: Told | None) -> Told:
        self._call(function, gpu)
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    def _call(self, function: str, gpu: FakeGpu | None = None, is_open: bool = False) -> None:
        self.calls.append(function)
        if not (self.is_open or is_open):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        for key in (function, (function, gpu and gpu.uuid)):
            if key in self.broken:
                raise pynvml.NVMLError(self.broken[key])


def two_gpus() -> list[FakeGpu]:
    """The first tells all, the second is split, with a free place between its two instances, and tells no power."""
    small = FakeGpu("MIG-a", total=5 * GIB, used=GIB)
    large = FakeGpu("MIG-b", total=20 * GIB, used=7 * GIB)
    return [
        FakeGpu("GPU-0", 71_500, 350_000, 5_000_000, 57, 80 * GIB, 11 * GIB),
        FakeGpu("GPU-1", None, 400_000, 9_000_000, None, 40 * GIB, 8 * GIB, [small, None, large]),
    ]

"""NVML without a driver."""


class FakeNvml:
    """NVML's functions over the power draws of some GPUs, in milliwatts; None for one that cannot tell."""

    class NVMLError(Exception):
        pass

    def __init__(self, *milliwatts: int | None) -> None:
        self.milliwatts = list(milliwatts)
        self.calls: list[str] = []
        self.broken: set[str] = set()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            raise self.NVMLError(f"{name} failed")

    def nvmlInit(self) -> None:
        self._call("init")

    def nvmlShutdown(self) -> None:
        self._call("shutdown")

    def nvmlDeviceGetCount(self) -> int:
        self._call("count")
        return len(self.milliwatts)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self._call(f"handle {index}")
        return index

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        milliwatts = self.milliwatts[handle]
        if milliwatts is None:
            raise self.NVMLError("Not Supported")
        return milliwatts

"""GPU 0: which one there is, with which driver, clocks and libraries; and what NVML tells while something runs on it.

Run as a program it prints the former as JSON: CUDA should not be at work in the process that only starts others.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean
from threading import Event, Thread
from typing import Any

import pynvml

from bench.measure import ROOT, NotInstalledError
from yais.server.metrics.nvml import GpuReading, Nvml, NvmlError

# The kinds of clock in NVML's words.
_CLOCKS = ("graphics", "sm", "mem")
# Under the names that they have for each CUDA; those that are installed are reported.
_PACKAGES = (
    "tensorrt",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "tensorrt-rtx",
    "tensorrt-rtx-cu13-bindings",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13",
    "onnxruntime-gpu",
    "pycuda",
    "cuda-bindings",
    "nvidia-ml-py",
)

# NVML's utilization is itself a mean, of a sixth of a second at least.
_PERIOD_S = 0.1
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Gpu:
    """GPU 0, and what runs models on it: `runtime` is that of all engines, `kind` the TensorRT of plans, if any.

    `cuda` is the newest CUDA that the driver knows. `nvml`: clocks in MHz, as they were found and at most, and the
    limit of the power in watts; empty where NVML tells nothing.
    """

    name: str
    capability: str
    memory_gib: float
    cuda: str
    runtime: str
    kind: str | None
    nvml: dict[str, str | float]
    packages: dict[str, str]


@cache
def find_gpu() -> Gpu:
    """Raises `NotInstalledError` that says why there is none."""
    done = subprocess.run([sys.executable, "-m", "bench.gpu.machine"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        # The last line of a traceback has the reason.
        raise NotInstalledError(f"a GPU: {(done.stderr or done.stdout).strip().rpartition(chr(10))[2]}")
    return Gpu(**json.loads(done.stdout))


def main() -> None:
    print(json.dumps(asdict(_look())))


def _look() -> Gpu:
    from yais.engines.base import EngineError
    from yais.engines.cuda.device import open_device

    try:
        device = open_device(0)
        runtime, kind = _runtime()
    except EngineError as error:
        sys.exit(str(error))
    with device:
        driver = import_module("pycuda.driver")
        _, total = driver.mem_get_info()
        newest = driver.get_driver_version()
    # 12.4 is 12040 to the driver.
    cuda = f"{newest // 1000}.{newest % 1000 // 10}"
    nvml = dict(_nvml())
    return Gpu(device.name, device.capability, round(total / 2**30, 1), cuda, runtime, kind, nvml, dict(_versions()))


def _runtime() -> tuple[str, str | None]:
    """What the server would take, in its order of preference."""
    from yais.engines.base import EngineError
    from yais.engines.tensorrt.library import find_library

    try:
        library = find_library()
    except EngineError as missing:
        from yais.engines.onnxruntime.cuda import require_provider
        from yais.engines.onnxruntime.session import ort

        try:
            require_provider()
        except EngineError as error:
            raise EngineError(f"{missing}; {error}") from error
        # ONNX Runtime serves ONNX files: there is no kind of plan to build.
        return f"ONNX Runtime {ort.__version__}, CUDA provider", None
    return library.title, library.flavour


def _nvml() -> Iterator[tuple[str, str | float]]:
    """What NVML tells of the first GPU that this process may use."""
    nvml = Nvml()
    try:
        readings = nvml.read()
    except NvmlError:
        return
    for reading in readings[:1]:
        # NVML's indexes take no notice of CUDA_VISIBLE_DEVICES; a UUID is the same everywhere.
        asked: Any = pynvml.nvmlDeviceGetHandleByUUID(reading.uuid)
        yield "driver", str(pynvml.nvmlSystemGetDriverVersion())
        for clock in _CLOCKS:
            kind = getattr(pynvml, f"NVML_CLOCK_{clock.upper()}")
            with suppress(pynvml.NVMLError):
                yield f"{clock} MHz", float(pynvml.nvmlDeviceGetClockInfo(asked, kind))
                yield f"{clock} MHz at most", float(pynvml.nvmlDeviceGetMaxClockInfo(asked, kind))
        if reading.power_limit is not None:
            yield "power limit W", reading.power_limit
    nvml.close()


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield package, version(package)


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


if __name__ == "__main__":
    main()

"""Which GPU there is, with which driver, clocks and libraries.

Run as a program it prints that as JSON: CUDA should not be at work in the process that only starts others.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.measure import ROOT, NotInstalledError

# The kinds of clock in NVML's words.
_CLOCKS = ("graphics", "sm", "mem")
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
        return f"ONNX Runtime {ort.__version__}, CUDA provider", None
    return library.title, library.flavour


def _nvml() -> Iterator[tuple[str, str | float]]:
    """What NVML tells of the first GPU that this process may use."""
    import pynvml

    from yais.server.metrics.nvml import Nvml, NvmlError

    nvml = Nvml()
    try:
        readings = nvml.read()
    except NvmlError:
        return
    for reading in readings[:1]:
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


if __name__ == "__main__":
    main()

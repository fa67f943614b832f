"""Engine files: each is opened by the backend for its suffix, on the CPU or over the GPUs that are asked for.

A backend is imported only when one of its files is opened.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from yais.engines.base import Context, Device, Engine, EngineError, EngineOptions, TensorSpec

if TYPE_CHECKING:
    from yais.engines.cuda.device import CudaDevice
    from yais.engines.tensorrt.library import Library

logger = logging.getLogger(__name__)


def open_engine(path: Path, options: EngineOptions | None = None) -> Engine:
    """Loads the engine in `path`.

    Raises `EngineError` when it is missing, out of reach, not a regular file, of no known type, or broken.
    """
    options = options or EngineOptions()
    backend = _BACKENDS.get((path.suffix.lower(), options.device))
    try:
        mode = path.stat().st_mode
    # No path has a null byte, which is a ValueError.
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise EngineError(f"engine '{path}': no such file") from error
    except OSError as error:
        raise EngineError(f"engine '{path}': {error.strerror}") from error
    if not S_ISREG(mode):
        raise EngineError(f"engine '{path}': not a regular file")
    if backend is None:
        known = ", ".join(dict.fromkeys(suffix for suffix, _ in _BACKENDS))
        raise EngineError(f"engine '{path}': unknown file type '{path.suffix}', known are {known}")
    return backend(path, options)


def _open_onnx(path: Path, options: EngineOptions) -> Engine:
    """An ONNX file through ONNX Runtime, on the CPU. Raises `EngineError`."""
    from yais.engines.onnxruntime.cpu import open_onnx

    return open_onnx(path, options)


def _open_plan(path: Path, options: EngineOptions) -> Engine:
    """A TensorRT plan. Raises `EngineError`."""
    from yais.engines.cuda.device import open_device
    from yais.engines.tensorrt.engine import TensorRtEngine
    from yais.engines.tensorrt.library import find_library
    from yais.engines.tensorrt.plan import read_header

    try:
        with path.open("rb") as file:
            # The header alone says which TensorRT to import; the plan itself may be gigabytes.
            library = find_library(read_header(file.read(64)).flavour)
        return _spread(options, lambda gpu, share: TensorRtEngine(path, library, open_device(gpu), share))
    except (EngineError, OSError) as error:
        raise EngineError(f"engine '{path}': {error}") from error


def _open_onnx_on_gpu(path: Path, options: EngineOptions) -> Engine:
    """An ONNX file through a plan that is built if need be, or through ONNX Runtime. Raises `EngineError`."""
    from yais.engines.cuda.device import open_device
    from yais.engines.tensorrt.library import find_library

    try:
        library = find_library()
    # That TensorRT is missing is no error where ONNX Runtime may do.
    except EngineError as error:
        logger.info("%s; ONNX Runtime runs '%s' on the GPU instead", error, path)
        from yais.engines.onnxruntime.cuda import open_onnx_on_ort_cuda

        return _spread(options, lambda gpu, share: open_onnx_on_ort_cuda(path, share, gpu))
    try:
        # All are found before a plan is built for the first, which may take minutes.
        devices = {gpu: open_device(gpu) for gpu in options.devices}
        return _spread(options, lambda gpu, share: _open_built(path, library, devices[gpu], share))
    except (EngineError, OSError) as error:
        raise EngineError(f"engine '{path}': {error}") from error


# By suffix and device; a plan is run on a GPU whatever is asked for.
_BACKENDS: dict[tuple[str, Device], Callable[[Path, EngineOptions], Engine]] = {
    (".onnx", "cpu"): _open_onnx,
    (".onnx", "cuda"): _open_onnx_on_gpu,
    (".engine", "cpu"): _open_plan,
    (".engine", "cuda"): _open_plan,
    (".plan", "cpu"): _open_plan,
    (".plan", "cuda"): _open_plan,
}


def needs_gpu(path: Path, device: Device) -> bool:
    """Whether the engine in `path` runs on a GPU when `device` is asked for."""
    return _BACKENDS.get((path.suffix.lower(), device)) not in (None, _open_onnx)


class SpreadEngine:
    """One model on several GPUs: `engines` are of one file, and contexts are made on each in turn."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._made = 0

    @property
    def platform(self) -> str:
        return self._engines[0].platform

    @property
    def device(self) -> str:
        return ",".join(engine.device for engine in self._engines)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._engines[0].inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._engines[0].outputs

    @property
    def max_batch_size(self) -> int:
        return min(engine.max_batch_size for engine in self._engines)

    @property
    def declares_batch(self) -> bool:
        return self._engines[0].declares_batch

    def create_context(self) -> Context:
        engine = self._engines[self._made % len(self._engines)]
        self._made += 1
        return engine.create_context()

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


def _spread(options: EngineOptions, open_on: Callable[[int, EngineOptions], Engine]) -> Engine:
    """An engine on each GPU, with its share of what runs at once."""
    # Rounded up: a GPU with one slot too many is better than one whose contexts wait.
    contexts = -(-options.contexts // len(options.devices))
    engines = [open_on(gpu, replace(options, contexts=contexts)) for gpu in options.devices]
    return engines[0] if len(engines) == 1 else SpreadEngine(engines)


def _open_built(path: Path, library: "Library", device: "CudaDevice", options: EngineOptions) -> Engine:
    """A plan that was kept, but cannot be loaded, is built again."""
    from yais.engines.builder.plan_cache import cached_plan
    from yais.engines.tensorrt.engine import TensorRtEngine
    from yais.engines.tensorrt.plan import PlanError

    # Served without batching, a plan that could do it takes more shapes than one that could not.
    most = options.max_batch_size or None
    find = partial(cached_plan, path, library, device, max_batch_size=most, folder=options.plan_cache)
    plan = find()
    # The file may be replaced at any time; its inode shows whether another process has built it again meanwhile.
    broken = plan.stat().st_ino
    try:
        return TensorRtEngine(plan, library, device, options)
    except PlanError as error:
        logger.warning("The plan '%s' is built again: %s", plan, str(error))
    return TensorRtEngine(find(broken=broken), library, device, options)

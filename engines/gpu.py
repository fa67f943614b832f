"""Opening engines on GPUs: plans, and ONNX files through TensorRT or, where there is none, ONNX Runtime."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from yais.engines.base import Engine, EngineError, EngineOptions
from yais.engines.cuda.device import Device, open_device
from yais.engines.spread import SpreadEngine
from yais.engines.tensorrt.cache import cached_plan
from yais.engines.tensorrt.engine import TensorRtEngine
from yais.engines.tensorrt.header import PlanError, read_header
from yais.engines.tensorrt.library import Library, find_library

logger = logging.getLogger(__name__)


def open_plan(path: Path, options: EngineOptions) -> Engine:
    """A TensorRT plan. Raises `EngineError`."""
    try:
        with path.open("rb") as file:
            library = find_library(read_header(file.read(64)).kind)
        return _spread(options, lambda gpu, its: TensorRtEngine(path, library, open_device(gpu), its))
    except (EngineError, OSError) as error:
        raise EngineError(f"engine '{path}': {error}") from error


def open_onnx_on_gpu(path: Path, options: EngineOptions) -> Engine:
    """An ONNX file through a plan that is built if need be, or through ONNX Runtime. Raises `EngineError`."""
    try:
        library = find_library()
    except EngineError as error:
        logger.info("%s; ONNX Runtime runs '%s' on the GPU instead", error, path)
        from yais.engines.ort_cuda import open_onnx_on_ort_cuda

        return _spread(options, lambda gpu, its: open_onnx_on_ort_cuda(path, its, gpu))
    try:
        # All are found before a plan is built for the first, which may take minutes.
        devices = {gpu: open_device(gpu) for gpu in options.devices}
        return _spread(options, lambda gpu, its: _open_built(path, library, devices[gpu], its))
    except (EngineError, OSError) as error:
        raise EngineError(f"engine '{path}': {error}") from error


def _open_built(path: Path, library: Library, device: Device, options: EngineOptions) -> Engine:
    """A plan that was kept, but cannot be loaded, is built again."""
    # Served without batching, a plan that could do it takes more shapes than one that could not.
    find = partial(cached_plan, path, library, device, options.max_batch_size or None, options.plan_cache)
    plan = find()
    broken = plan.stat().st_ino
    try:
        return TensorRtEngine(plan, library, device, options)
    except PlanError as error:
        logger.warning("The plan '%s' is built again: %s", plan, str(error))
    return TensorRtEngine(find(broken), library, device, options)


def _spread(options: EngineOptions, open_on: Callable[[int, EngineOptions], Engine]) -> Engine:
    """An engine on each GPU, with its share of what runs at once."""
    share = -(-options.contexts // len(options.devices))
    engines = [open_on(gpu, replace(options, contexts=share)) for gpu in options.devices]
    return engines[0] if len(engines) == 1 else SpreadEngine(engines)

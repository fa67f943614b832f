"""A plan, loaded: the engine that TensorRT makes of the bytes of a file, or why it does not."""

import re
from typing import TYPE_CHECKING

from yais.engines.base import EngineError
from yais.engines.tensorrt.header import Header, PlanError, read_header
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.logger import Messages, make_logger

if TYPE_CHECKING:
    import tensorrt as trt

# What TensorRT logs -> what it means for whoever has the plan, and whether the plan is at fault.
_MEANINGS: tuple[tuple[str, str, type[EngineError]], ...] = (
    (r"not compatible with this version|Version tag does not match", "another version of TensorRT made it", PlanError),
    (r"incompatible device|UNSUPPORTED_CC", "it was built for another GPU", PlanError),
    (
        r"CUDA initialization failure|driver version is insufficient|no CUDA-capable device|OLD_CUDA_DRIVER",
        "there is no GPU with a new enough driver",
        EngineError,
    ),
    (r"out of memory|FAILED_ALLOCATION|OutOfMemory", "the GPU has not enough memory left", EngineError),
    (r"not find plugin|PluginCreator not found|creator failed", "it needs a plugin that is not installed", EngineError),
    (r"[Mm]agic tag|MALFORMED|[Cc]hecksum|truncated|Serialization", "it is damaged", PlanError),
)


def load_plan(data: bytes, library: Library, messages: Messages | None = None) -> "tuple[trt.Runtime, trt.ICudaEngine]":
    """The engine, and the runtime that must outlive it; on the device that is current.

    TensorRT logs to `messages`. Raises `EngineError` that says why not, and what TensorRT itself had to say; it is a
    `PlanError` where another plan may help.
    """
    header = read_header(data)
    if header.kind != library.kind:
        raise PlanError(f"it was built by {header.title}, but what is installed is {library.title}")
    messages = messages or Messages()
    logger = make_logger(library.module, messages)
    runtime = _make_runtime(library, logger)
    if runtime is None:
        raise refusal(header, library, messages.take())
    # Plugins are found by name in a registry, which the parser fills for who builds, and nobody for who loads.
    library.module.init_libnvinfer_plugins(logger, "")
    # A version-compatible plan brings the runtime that is to run it, as code; who can replace an engine is trusted.
    runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise refusal(header, library, messages.take())
    return runtime, engine


def _make_runtime(library: Library, logger: "trt.ILogger") -> "trt.Runtime | None":
    """None where TensorRT finds no GPU that it can use."""
    try:
        return library.module.Runtime(logger)
    except TypeError:  # It is what pybind11 makes of a null pointer.
        return None


def refusal(header: Header, library: Library, told: str) -> EngineError:
    """Why a plan cannot be loaded, from what TensorRT told."""
    meanings = ((meaning, kind) for pattern, meaning, kind in _MEANINGS if re.search(pattern, told))
    meaning, kind = next(meanings, ("it cannot be loaded", EngineError))
    return kind(f"{meaning} (built by {header.title}, loaded by {library.title}): {told}")

"""A plan, loaded: the engine that TensorRT makes of the bytes of a file, or why it does not."""

import re
from typing import TYPE_CHECKING

from yais.engines.base import EngineError
from yais.engines.tensorrt.header import Header, read_header
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.logger import Messages, make_logger

if TYPE_CHECKING:
    import tensorrt as trt

# What TensorRT logs -> what it means for whoever has the plan.
_MEANINGS: tuple[tuple[str, str], ...] = (
    (r"not compatible with this version|Version tag does not match", "another version of TensorRT made it"),
    (r"incompatible device|UNSUPPORTED_CC", "it was built for another GPU"),
    (
        r"driver version is insufficient|no CUDA-capable device|OLD_CUDA_DRIVER",
        "there is no GPU with a new enough driver",
    ),
    (r"out of memory|FAILED_ALLOCATION|OutOfMemory", "the GPU has not enough memory left"),
    (r"[Mm]agic tag|MALFORMED|checksum|truncated|[Ss]erializ", "it is damaged"),
)


def load_plan(data: bytes, library: Library, messages: Messages | None = None) -> "tuple[trt.Runtime, trt.ICudaEngine]":
    """The engine, and the runtime that must outlive it; on the device that is current.

    TensorRT logs to `messages`. Raises `EngineError` that says why not, and what TensorRT itself had to say.
    """
    header = read_header(data)
    if header.kind != library.kind:
        raise EngineError(f"it was built by {header.title}, but what is installed is {library.title}")
    messages = messages or Messages()
    runtime = library.module.Runtime(make_logger(library.module, messages))
    # A version-compatible plan brings the runtime that is to run it, as code; who can replace an engine is trusted.
    runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise EngineError(explain(header, library, messages.take()))
    return runtime, engine


def explain(header: Header, library: Library, told: str) -> str:
    """Why a plan cannot be loaded, from what TensorRT told."""
    meanings = (meaning for pattern, meaning in _MEANINGS if re.search(pattern, told))
    meaning = next(meanings, "it cannot be loaded")
    return f"{meaning} (built by {header.title}, loaded by {library.title}): {told}"

"""Libraries of TensorRT: the one that is installed, and what its version lacks.

TensorRT 10, 11 and TensorRT-RTX have the same interface in modules of different names. What code does with one of them
is typed against the stubs of `tensorrt`; the classes that it uses are those of `Module`.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from yais.engines.base import EngineError

if TYPE_CHECKING:
    import tensorrt as trt

Flavour = Literal["tensorrt", "tensorrt-rtx"]


class Module(Protocol):
    """What is used of a module of TensorRT; there are no others than these."""

    __version__: str

    @staticmethod
    def init_libnvinfer_plugins(logger: "trt.ILogger", namespace: str, /) -> bool: ...

    Builder: "type[trt.Builder]"
    BuilderFlag: "type[trt.BuilderFlag]"
    ComputeCapability: "type[trt.ComputeCapability]"
    DataType: "type[trt.DataType]"
    DynamicShapesKernelSpecializationStrategy: "type[trt.DynamicShapesKernelSpecializationStrategy]"
    ExecutionContextAllocationStrategy: "type[trt.ExecutionContextAllocationStrategy]"
    HardwareCompatibilityLevel: "type[trt.HardwareCompatibilityLevel]"
    ILogger: "type[trt.ILogger]"
    IOutputAllocator: "type[trt.IOutputAllocator]"
    IProgressMonitor: "type[trt.IProgressMonitor]"
    LayerInformationFormat: "type[trt.LayerInformationFormat]"
    MemoryPoolType: "type[trt.MemoryPoolType]"
    NetworkDefinitionCreationFlag: "type[trt.NetworkDefinitionCreationFlag]"
    OnnxParser: "type[trt.OnnxParser]"
    ProfilingVerbosity: "type[trt.ProfilingVerbosity]"
    Runtime: "type[trt.Runtime]"
    TensorFormat: "type[trt.TensorFormat]"
    TensorIOMode: "type[trt.TensorIOMode]"
    TensorLocation: "type[trt.TensorLocation]"


@dataclass(frozen=True, slots=True)
class Features:
    """What not every version has. That networks may be typed weakly, as in 10, is not used.

    `builds_without_gpu`: plans for GPUs that are named by their compute capability, on a machine that has none.
    `has_timing_cache`: a builder that measures, and keeps what it measured.
    `checks_validity`: a runtime that says of a plan why it cannot be loaded, before it is.
    `tells_weights`: an engine that says how many bytes its weights have.
    `compiles_at_run_time`: kernels that are compiled for a context, or for shapes when they first occur; and plans that
    take memory while they run, unless they are built not to.
    """

    builds_without_gpu: bool
    has_timing_cache: bool
    checks_validity: bool
    tells_weights: bool
    compiles_at_run_time: bool


@dataclass(frozen=True, slots=True)
class Library:
    """A TensorRT that is installed."""

    flavour: Flavour
    module: Module
    features: Features

    @property
    def version(self) -> str:
        return self.module.__version__

    @property
    def title(self) -> str:
        return f"{'TensorRT' if self.flavour == 'tensorrt' else 'TensorRT-RTX'} {self.version}"


def find_library(flavour: Flavour | None = None) -> Library:
    """The installed TensorRT of this flavour, or of any, before RTX. Raises `EngineError` that says what to install."""
    for found, load in _LOADERS.items():
        module = load() if flavour in (None, found) else None
        if module is not None:
            return Library(found, module, _features(found, module.__version__))
    # What is missing is what was asked for; without a wish, TensorRT itself.
    wanted = "TensorRT-RTX is not installed" if flavour == "tensorrt-rtx" else "TensorRT is not installed"
    raise EngineError(f"{wanted}: pip install '{'tensorrt-rtx' if flavour == 'tensorrt-rtx' else 'yais[gpu]'}'")


def _features(flavour: Flavour, version: str) -> Features:
    """The one table of differences."""
    is_rtx = flavour == "tensorrt-rtx"
    # 10.13.0.35 has four parts.
    major, minor = map(int, version.split(".")[:2])
    return Features(
        builds_without_gpu=is_rtx,
        has_timing_cache=not is_rtx,
        checks_validity=is_rtx,
        tells_weights=is_rtx or (major, minor) >= (10, 16),
        compiles_at_run_time=is_rtx,
    )


def _load_rtx() -> Module | None:
    """RTX from its own packages; or its bindings alone, on the libraries that ONNX Runtime's provider for it brings."""
    module = _import("tensorrt_rtx")
    if module is None and find_spec("tensorrt_rtx_bindings"):
        provider = find_spec("onnxruntime_ep_nv_tensorrt_rtx")
        if provider and provider.origin:
            # Each before those that need it. RTLD_GLOBAL, since the bindings name no folder to look for them in.
            for name in ("libcudart", "libtensorrt_rtx", "libtensorrt_onnxparser_rtx"):
                for library in sorted(Path(provider.origin).parent.glob(f"{name}.so.*"))[-1:]:
                    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        module = _import("tensorrt_rtx_bindings")
    return module


_LOADERS: dict[Flavour, Callable[[], Module | None]] = {
    "tensorrt": lambda: _import("tensorrt"),
    "tensorrt-rtx": _load_rtx,
}


def _import(name: str) -> Module | None:
    """None when there is no such module, or only the stubs of one."""
    if find_spec(name) is None:
        return None
    try:
        module = import_module(name)
    except ImportError as error:
        raise EngineError(f"{name} is installed, but cannot be imported: {error}") from error
    # `tensorrt-stubs`, which type checkers use, makes a folder without a module in it.
    return cast("Module", module) if hasattr(module, "Builder") else None

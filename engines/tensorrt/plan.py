"""Plans: who made one, loading it, and what its contexts share on a device.

Source of the header: NVIDIA's answer in github.com/NVIDIA/TensorRT/issues/3073 for the version, and the plans of
TensorRT-RTX.
"""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yais.engines.base import EngineError
from yais.engines.cuda.device import CudaDevice
from yais.engines.tensorrt.bindings import BatchLayout, Bindings, read_bindings
from yais.engines.tensorrt.library import Flavour, Library
from yais.engines.tensorrt.logger import Messages, make_logger

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

# The first four bytes, and where the version is, one byte for each part.
_MAGIC: dict[bytes, Flavour] = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_VERSION = slice(24, 28)


class PlanError(EngineError):
    """A plan that cannot be loaded here for what it is; another plan of the same model may be."""


# What TensorRT logs -> what it means for the user, and whether the plan is at fault.
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


@dataclass(frozen=True, slots=True)
class Header:
    """Who made a plan: `version` is major, minor, patch and build."""

    flavour: Flavour
    version: tuple[int, ...]

    @property
    def title(self) -> str:
        name = "TensorRT" if self.flavour == "tensorrt" else "TensorRT-RTX"
        return f"{name} {'.'.join(map(str, self.version))}"


def read_header(plan: bytes) -> Header:
    """Raises `PlanError` for what is no plan."""
    flavour = _MAGIC.get(plan[:4])
    if flavour is None:
        raise PlanError("not a TensorRT plan: it does not begin as one does")
    if len(plan) < _VERSION.stop:
        raise PlanError(f"not a whole TensorRT plan: it has {len(plan)} bytes")
    return Header(flavour, tuple(plan[_VERSION]))


def load_plan(data: bytes, library: Library, messages: Messages | None = None) -> "tuple[trt.Runtime, trt.ICudaEngine]":
    """The engine, and the runtime that must outlive it; on the device that is current.

    TensorRT logs to `messages`. Raises `EngineError` that says why not, and what TensorRT itself had to say; it is a
    `PlanError` where another plan may help.
    """
    header = read_header(data)
    if header.flavour != library.flavour:
        raise PlanError(f"it was built by {header.title}, but what is installed is {library.title}")
    messages = messages or Messages()
    trt_logger = make_logger(library.module, messages)
    try:
        runtime = library.module.Runtime(trt_logger)
    except TypeError:
        # It is what pybind11 makes of a null pointer, which is TensorRT's answer where it finds no GPU that it can use.
        raise load_error(header, library, messages.take()) from None
    # Plugins are found by name in a registry, which the parser fills before a build, but nothing before a load.
    library.module.init_libnvinfer_plugins(trt_logger, "")
    # A version-compatible plan brings the runtime that is to run it, as code; who can replace an engine is trusted.
    runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise load_error(header, library, messages.take())
    return runtime, engine


def load_error(header: Header, library: Library, logged: str) -> EngineError:
    """Why a plan cannot be loaded, from what TensorRT logged."""
    meanings = ((meaning, error) for pattern, meaning, error in _MEANINGS if re.search(pattern, logged))
    meaning, error = next(meanings, ("it cannot be loaded", EngineError))
    return error(f"{meaning} (built by {header.title}, loaded by {library.title}): {logged}")


class RuntimeConfig:
    """The configuration with which all contexts of an engine are made; must outlive them.

    Kernels are compiled once for all contexts, and those for a shape before its first run ends: were that done in the
    background, a CUDA graph would hold the slow ones that stand in for them. Raises `EngineError`.
    """

    def __init__(self, engine: "trt.ICudaEngine", library: Library) -> None:
        module = library.module
        self.config = engine.create_runtime_config()
        self.config.set_execution_context_allocation_strategy(module.ExecutionContextAllocationStrategy.USER_MANAGED)
        self.config.dynamic_shapes_kernel_specialization_strategy = (
            module.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        self._compiled = self.config.create_runtime_cache()
        if not self.config.set_runtime_cache(self._compiled):
            raise EngineError("TensorRT-RTX refuses a cache for what it compiles")


class LoadedPlan:
    """TensorRT's engine, and what it logs. Made while `device` is current. Raises `EngineError`."""

    def __init__(self, path: Path, library: Library, device: CudaDevice, max_batch_size: int | None) -> None:
        self.library = library
        self.device = device
        self.messages = Messages()
        self._runtime, self.engine = load_plan(path.read_bytes(), library, self.messages)
        compiles = library.features.compiles_at_run_time
        self._runtime_config = RuntimeConfig(self.engine, library) if compiles else None
        # Contexts come before the layout: one has to be made to see what a plan's outputs depend on.
        self.layout = BatchLayout(self._batches_checked(read_bindings(self.engine, library)), max_batch_size)

    @property
    def workspace_size(self) -> int:
        """Bytes of activations in the profile that needs most."""
        # Memory of the user's own must do for whatever profile a context is in.
        profiles = range(self.layout.bindings.profiles)
        return max(self.engine.get_device_memory_size_for_profile_v2(profile) for profile in profiles)

    def make_context(self) -> "trt.IExecutionContext":
        """One without memory for activations. Raises `EngineError`."""
        if self._runtime_config is not None:
            made = self.engine.create_execution_context(self._runtime_config.config)
        else:
            strategy = self.library.module.ExecutionContextAllocationStrategy.USER_MANAGED
            made = self.engine.create_execution_context(strategy)
        if made is None:
            raise EngineError(self.messages.take())
        return made

    def _batches_checked(self, bindings: Bindings) -> Bindings:
        """Without a batch dimension if it is none of an output, as of the boxes that a detector has found."""
        if not bindings.is_batchable:
            return bindings
        context = self.make_context()
        # The largest shapes, since a least one may be of no rows.
        if not all(context.set_input_shape(binding.name, binding.ranges[0].maximum) for binding in bindings.inputs):
            return bindings
        for binding in bindings.outputs:
            # What is not known although the inputs' shapes are is decided by what they hold.
            if tuple(context.get_tensor_shape(binding.name))[:1] == (-1,):
                logger.info("The plan is served without batches: the data decide how many rows '%s' has", binding.name)
                return replace(bindings, is_batchable=False)
        return bindings

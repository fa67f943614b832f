"""Stand-in of TensorRT, on simulated GPUs, for as much of it as is used. `make_plan` of `simulation` makes plans."""

from typing import Any

import numpy as np
from simulation.plans import tensorrt_version

from tensorrt._base import Dims, IHostMemory, ILogger, IOutputAllocator, IProgressMonitor, Logger
from tensorrt._builder import Builder, IBuilderConfig, IOptimizationProfile, ITimingCache
from tensorrt._context import IExecutionContext
from tensorrt._enums import (
    BuilderFlag,
    DataType,
    ErrorCode,
    ExecutionContextAllocationStrategy,
    HardwareCompatibilityLevel,
    LayerInformationFormat,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
)
from tensorrt._network import ILayer, INetworkDefinition, ITensor, OnnxParser, ParserError
from tensorrt._runtime import EngineInspector, ICudaEngine, Runtime

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "Dims",
    "EngineInspector",
    "ErrorCode",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IOutputAllocator",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "LayerInformationFormat",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TensorFormat",
    "TensorIOMode",
    "TensorLocation",
    "bfloat16",
    "float16",
    "float32",
    "volume",
]

__version__ = ".".join(map(str, tensorrt_version()))

float32, float16, bfloat16 = DataType.FLOAT, DataType.HALF, DataType.BF16


def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
    """There are no plugins."""
    return True


def volume(iterable: Any) -> int:
    return int(np.prod(tuple(iterable), dtype=np.int64))

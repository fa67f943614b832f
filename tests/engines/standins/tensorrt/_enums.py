"""TensorRT's enumerations, as far as they are used. As those of pybind11, they are no numbers, but have one."""

from enum import Enum, EnumMeta
from typing import Any, NoReturn

from onnx import TensorProto
from simulation.plans import tensorrt_version


class _Meta(EnumMeta):
    def __iter__(cls) -> NoReturn:
        raise TypeError(f"'{type(cls).__name__}' object is not iterable")


class PybindEnum(Enum, metaclass=_Meta):
    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__


class Severity(PybindEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class DataType(PybindEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6
    BF16 = 7
    INT64 = 8
    INT4 = 9
    FP4 = 10


class TensorIOMode(PybindEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(PybindEnum):
    DEVICE = 0
    HOST = 1


class TensorFormat(PybindEnum):
    LINEAR = 0
    CHW2 = 1
    HWC8 = 2
    CHW4 = 3
    CHW16 = 4
    CHW32 = 5
    HWC = 8


class ExecutionContextAllocationStrategy(PybindEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class LayerInformationFormat(PybindEnum):
    ONELINE = 0
    JSON = 1


class ProfilingVerbosity(PybindEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class MemoryPoolType(PybindEnum):
    WORKSPACE = 0
    TACTIC_DRAM = 4
    TACTIC_SHARED_MEMORY = 5


class HardwareCompatibilityLevel(PybindEnum):
    NONE = 0
    AMPERE_PLUS = 1
    SAME_COMPUTE_CAPABILITY = 2


class BuilderFlag(PybindEnum):
    DEBUG = 2
    REFIT = 4
    DISABLE_TIMING_CACHE = 5
    TF32 = 6
    SPARSE_WEIGHTS = 7
    DIRECT_IO = 11
    VERSION_COMPATIBLE = 12
    EXCLUDE_LEAN_RUNTIME = 13
    STRIP_PLAN = 18
    WEIGHT_STREAMING = 20


class ErrorCode(PybindEnum):
    SUCCESS = 0
    INTERNAL_ERROR = 1
    INVALID_VALUE = 4
    INVALID_GRAPH = 5
    INVALID_NODE = 6
    UNSUPPORTED_NODE = 8


def _creation_flag() -> Any:
    """Before TensorRT 11 there was an explicit batch, too."""
    old = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    return PybindEnum("NetworkDefinitionCreationFlag", old if tensorrt_version()[0] < 11 else {"STRONGLY_TYPED": 0})


NetworkDefinitionCreationFlag = _creation_flag()


# Types of ONNX -> TensorRT's.
TYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.INT8: DataType.INT8,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.BOOL: DataType.BOOL,
}

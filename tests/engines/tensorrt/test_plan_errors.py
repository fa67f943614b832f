"""Messages of TensorRT about a plan that it does not take, and what they mean."""

from types import SimpleNamespace
from typing import Any

import pytest

from yais.engines import EngineError
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.plan import Header, PlanError, load_error, load_plan, read_header

MODULE: Any = SimpleNamespace(__version__="10.13.0.35")
FEATURES: Any = SimpleNamespace()
LIBRARY = Library("tensorrt", MODULE, FEATURES)
HEADER = Header("tensorrt", (10, 3, 0, 26))
ABOUT = "(built by TensorRT 10.3.0.26, loaded by TensorRT 10.13.0.35)"

OF_PLANS = {
    "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is not compatible with this "
    "version of TensorRT, expecting library version 10.13.0.35 got 10.3.0.26, please rebuild.)": (
        "another version of TensorRT made it"
    ),
    "Error Code 1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed.Version tag "
    "does not match. Note: Current Version: 239, Serialized Engine Version: 236)": (
        "another version of TensorRT made it"
    ),
    "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is generated on an "
    "incompatible device, expecting compute 8.6 got compute 7.5, please rebuild.)": "it was built for another GPU",
    "Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not "
    "match)": "it is damaged",
    "Error Code 1: Serialization (Serialization assertion sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed."
    "Size specified in header does not match archive size)": "it is damaged",
    "Error Code 1: Serialization (Serialization assertion checksumRead == checksumComputed failed.Checksum does not "
    "match)": "it is damaged",
}
OF_MACHINES = {
    "CUDA initialization failure with error: 35. Please check your CUDA installation": (
        "there is no GPU with a new enough driver"
    ),
    "Error Code 1: Cuda Runtime (In ScopedCudaStream at common/runtime.cpp:59 (cudaError 35: CUDA driver version is "
    "insufficient for CUDA runtime version))": "there is no GPU with a new enough driver",
    "Error Code 2: OutOfMemory (Requested size was 1073741824 bytes.)": "the GPU has not enough memory left",
    "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)": (
        "the GPU has not enough memory left"
    ),
    "IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (an illegal memory access was encountered)": (
        "it cannot be loaded"
    ),
    "TensorRT does not say why": "it cannot be loaded",
}


@pytest.mark.parametrize("told", OF_PLANS)
def test_a_plan_that_is_at_fault_is_told_as_such(told: str) -> None:
    error = load_error(HEADER, LIBRARY, told)
    assert (type(error), str(error)) == (PlanError, f"{OF_PLANS[told]} {ABOUT}: {told}")


@pytest.mark.parametrize("told", OF_MACHINES)
def test_a_plan_is_not_at_fault_for_what_the_machine_lacks(told: str) -> None:
    error = load_error(HEADER, LIBRARY, told)
    assert (type(error), str(error)) == (EngineError, f"{OF_MACHINES[told]} {ABOUT}: {told}")


@pytest.mark.parametrize("data", [b"", b"ftr", b"\x08\x08\x12\x04yais", b"ftrt" + bytes(23)])
def test_what_is_no_plan_is_at_fault(data: bytes) -> None:
    with pytest.raises(PlanError, match=r"^not a (whole )?TensorRT plan: "):
        read_header(data)


def test_a_plan_of_the_other_tensorrt_is_at_fault() -> None:
    with pytest.raises(
        PlanError, match=r"^it was built by TensorRT-RTX 1\.7\.1\.116, but what is installed is TensorRT 10\.13\.0\.35$"
    ):
        load_plan(b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]), LIBRARY)

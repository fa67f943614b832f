"""Stand-in of `cuda.bindings.driver`, for what is used: every function returns a tuple that begins with a CUresult."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import simulation.driver as cuda
import simulation.driver_memory as cuda_memory
import simulation.driver_work as cuda_work
from simulation.errors import RESULTS, CudaError
from simulation.machine import Device, has_driver

CUresult = IntEnum("CUresult", {name: code for code, (name, _) in RESULTS.items()})
CU_MEMHOSTREGISTER_PORTABLE = 1
CU_MEMHOSTREGISTER_DEVICEMAP = 2


class CUstreamCaptureMode(IntEnum):
    CU_STREAM_CAPTURE_MODE_GLOBAL = 0
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1
    CU_STREAM_CAPTURE_MODE_RELAXED = 2


class CUstreamCaptureStatus(IntEnum):
    CU_STREAM_CAPTURE_STATUS_NONE = 0
    CU_STREAM_CAPTURE_STATUS_ACTIVE = 1
    CU_STREAM_CAPTURE_STATUS_INVALIDATED = 2


class _Handle:
    def __init__(self, init_value: int = 0) -> None:
        self._value = int(init_value)

    def __int__(self) -> int:
        return self._value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value:#x}>"


class CUstream(_Handle):
    pass


class CUgraph(_Handle):
    pass


class CUgraphExec(_Handle):
    pass


class CUdevice(_Handle):
    pass


def _called(count: int, function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """The result and `count` values, which are None where there is an error."""
    if not has_driver():
        raise RuntimeError('"cuda" is an NVIDIA driver library and can only be found via system search')
    try:
        value = function(*arguments)
    except CudaError as error:
        return (CUresult(error.code), *([None] * count))
    return (CUresult.CUDA_SUCCESS, value) if count else (CUresult.CUDA_SUCCESS,)


def _handle(kind: type[_Handle], value: Any) -> int:
    """Takes what it is, or a number."""
    if not isinstance(value, kind | int):
        raise TypeError(f"Argument 'x' is not instance of type (expected <class 'int'>, found {type(value)})")
    return int(value)


def cuGetErrorName(error: CUresult) -> tuple[Any, ...]:
    return (CUresult.CUDA_SUCCESS, RESULTS[_result(error)][0].encode())


def cuGetErrorString(error: CUresult) -> tuple[Any, ...]:
    return (CUresult.CUDA_SUCCESS, RESULTS[_result(error)][1].encode())


def _result(error: CUresult) -> int:
    if not isinstance(error, CUresult):
        raise TypeError(f"Argument 'error' has incorrect type (expected CUresult, got {type(error).__name__})")
    return int(error)


def cuInit(Flags: int) -> tuple[Any, ...]:  # noqa: N803
    return _called(0, cuda.cuInit, Flags)


def cuDriverGetVersion() -> tuple[Any, ...]:
    return _called(1, cuda.cuDriverGetVersion)


def cuDeviceGet(ordinal: int) -> tuple[Any, ...]:
    result, device = _called(1, cuda.cuDeviceGet, ordinal)
    return result, None if device is None else CUdevice(device.number)


def _reset(number: int) -> None:
    device: Device = cuda.cuDeviceGet(number)
    cuda.cuDevicePrimaryCtxReset(device)


def cuDevicePrimaryCtxReset(dev: Any) -> tuple[Any, ...]:
    return _called(0, _reset, _handle(CUdevice, dev))


def cuMemHostRegister(p: int, bytesize: int, Flags: int) -> tuple[Any, ...]:  # noqa: N803
    return _called(0, cuda_memory.cuMemHostRegister, int(p), bytesize, Flags)


def cuMemHostUnregister(p: int) -> tuple[Any, ...]:
    return _called(0, cuda_memory.cuMemHostUnregister, int(p))


def cuStreamBeginCapture(hStream: Any, mode: CUstreamCaptureMode) -> tuple[Any, ...]:  # noqa: N803
    if not isinstance(mode, CUstreamCaptureMode):
        raise TypeError("Argument 'mode' has incorrect type (expected CUstreamCaptureMode)")
    return _called(0, cuda_work.cuStreamBeginCapture, _handle(CUstream, hStream), int(mode))


def cuStreamEndCapture(hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    """The graph is a null one after an error."""
    result, graph = _called(1, cuda_work.cuStreamEndCapture, _handle(CUstream, hStream))
    return result, CUgraph(graph or 0)


def cuStreamIsCapturing(hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    result, status = _called(1, cuda_work.cuStreamIsCapturing, _handle(CUstream, hStream))
    return result, None if status is None else CUstreamCaptureStatus(status)


def cuGraphInstantiate(hGraph: Any, flags: int) -> tuple[Any, ...]:  # noqa: N803
    result, executable = _called(1, cuda_work.cuGraphInstantiate, _handle(CUgraph, hGraph), flags)
    return result, None if executable is None else CUgraphExec(executable)


def cuGraphUpload(hGraphExec: Any, hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    return _called(0, cuda_work.cuGraphUpload, _handle(CUgraphExec, hGraphExec), _handle(CUstream, hStream))


def cuGraphLaunch(hGraphExec: Any, hStream: Any) -> tuple[Any, ...]:  # noqa: N803
    return _called(0, cuda_work.cuGraphLaunch, _handle(CUgraphExec, hGraphExec), _handle(CUstream, hStream))


def cuGraphExecDestroy(hGraphExec: Any) -> tuple[Any, ...]:  # noqa: N803
    return _called(0, cuda_work.cuGraphExecDestroy, _handle(CUgraphExec, hGraphExec))


def cuGraphDestroy(hGraph: Any) -> tuple[Any, ...]:  # noqa: N803
    return _called(0, cuda_work.cuGraphDestroy, _handle(CUgraph, hGraph))

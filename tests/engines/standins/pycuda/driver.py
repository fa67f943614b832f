"""Stand-in of `pycuda.driver`, for what is used, with the rules of PyCUDA 2024.1 to 2026.1 (its src/cpp/cuda.hpp)."""

import ctypes
import math
from typing import Any

import numpy as np
import simulation.driver as cuda
import simulation.driver_memory as cuda_memory
import simulation.driver_work as cuda_work
from simulation import errors
from simulation.errors import CudaError
from simulation.machine import Device as _Device
from simulation.machine import has_driver
from simulation.memory import Locked

from pycuda._context import Context, Dependent, called, destroyed
from pycuda._errors import Error, LaunchError, LogicError, MemoryError, RuntimeError, raised  # noqa: A004

if not has_driver():
    raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")

__all__ = [
    "Context",
    "Device",
    "DeviceAllocation",
    "Error",
    "Event",
    "LaunchError",
    "LogicError",
    "MemoryError",
    "RuntimeError",
    "Stream",
    "event_flags",
    "get_driver_version",
    "get_version",
    "host_alloc_flags",
    "init",
    "mem_alloc",
    "mem_get_info",
    "mem_host_register_flags",
    "memcpy_dtoh_async",
    "memcpy_htod_async",
    "memset_d8_async",
    "pagelocked_empty",
    "pagelocked_zeros",
    "register_host_memory",
]


class event_flags:  # noqa: N801
    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2


class host_alloc_flags:  # noqa: N801
    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class mem_host_register_flags:  # noqa: N801
    PORTABLE = 1
    DEVICEMAP = 2


def init(flags: int = 0) -> None:
    called(cuda.cuInit, flags)


def get_version() -> tuple[int, int, int]:
    return (12, 8, 0)


def get_driver_version() -> int:
    return called(cuda.cuDriverGetVersion)


class Device:
    def __init__(self, number: int) -> None:
        self._device: _Device = called(cuda.cuDeviceGet, number)

    @staticmethod
    def count() -> int:
        return called(cuda.cuDeviceGetCount)

    def name(self) -> str:
        return self._device.name

    def compute_capability(self) -> tuple[int, int]:
        return self._device.capability

    def total_memory(self) -> int:
        return self._device.memory.total

    def pci_bus_id(self) -> str:
        return f"0000:{self._device.number + 1:02X}:00.0"

    def retain_primary_context(self) -> Context:
        called(cuda.cuDevicePrimaryCtxRetain, self._device)
        return Context(self._device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other._device is self._device

    def __hash__(self) -> int:
        return self._device.number


def mem_get_info() -> tuple[int, int]:
    return called(cuda_memory.cuMemGetInfo)


def mem_alloc(bytes: int) -> "DeviceAllocation":  # noqa: A002
    if not isinstance(bytes, int):
        raise TypeError(f"mem_alloc: did not match C++ signature: {type(bytes).__name__}")
    return DeviceAllocation(called(cuda_memory.cuMemAlloc, bytes))


class _Freed(Dependent):
    """What has a method to give it back, and is given back when it is no longer held."""

    _routine = ""

    def _free(self) -> None:
        if not self._is_valid:
            raise raised(self._routine, errors.INVALID_HANDLE)
        self._is_valid = False
        self._destroy()

    def __del__(self) -> None:
        if getattr(self, "_is_valid", False):
            self._free()


class DeviceAllocation(_Freed):
    _routine = "device_allocation::free"

    def __init__(self, address: int) -> None:
        super().__init__()
        self._address = address
        self._is_valid = True

    def free(self) -> None:
        self._free()

    def _destroy(self) -> None:
        destroyed(self, cuda_memory.cuMemFree, self._address)

    def __int__(self) -> int:
        return self._address

    __index__ = __int__


class PagelockedHostAllocation(_Freed):
    """Has a subclass for each size, which is an array of ctypes: the one kind of object that numpy keeps as a base."""

    _routine = "pagelocked_host_allocation::free"

    @classmethod
    def of(cls, locked: Locked) -> "PagelockedHostAllocation":
        array = type(cls.__name__, (cls, ctypes.c_uint8 * locked.nbytes), {})
        made: PagelockedHostAllocation = array.from_address(locked.address)
        Dependent.__init__(made)
        made._locked, made._is_valid = locked, True
        return made

    def free(self) -> None:
        self._free()

    def _destroy(self) -> None:
        destroyed(self, cuda_memory.cuMemFreeHost, self._locked.address)


def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray[Any, Any]:
    """`base.free()` gives it back, after which it must not be touched."""
    dtype, dims = np.dtype(dtype), (shape,) if isinstance(shape, int) else tuple(shape)
    nbytes = dtype.itemsize * math.prod(dims)
    base = PagelockedHostAllocation.of(called(cuda_memory.cuMemHostAlloc, nbytes, mem_flags))
    return np.ndarray(dims, dtype, buffer=base, order=order)


def pagelocked_zeros(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray[Any, Any]:
    array = pagelocked_empty(shape, dtype, order, mem_flags)
    array.fill(0)
    return array


def register_host_memory(ary: np.ndarray[Any, Any], flags: int = 0) -> np.ndarray[Any, Any]:
    """Fails as in PyCUDA since numpy refuses a second base: github.com/inducer/pycuda/issues/459."""
    raise SystemError("<Boost.Python.function object> returned a result with an exception set")


def memcpy_htod_async(dest: Any, src: Any, stream: "Stream | None" = None) -> None:
    host, nbytes = _buffer(src, writable=False)
    called(cuda_memory.cuMemcpyHtoDAsync, _address(dest), host, nbytes, _handle(stream))


def memcpy_dtoh_async(dest: Any, src: Any, stream: "Stream | None" = None) -> None:
    host, nbytes = _buffer(dest, writable=True)
    called(cuda_memory.cuMemcpyDtoHAsync, host, _address(src), nbytes, _handle(stream))


def memset_d8_async(dest: Any, data: int, size: int, stream: "Stream | None" = None) -> None:
    called(cuda_memory.cuMemsetD8Async, _address(dest), data, size, _handle(stream))


def _address(value: Any) -> int:
    """Boost.Python takes a DeviceAllocation or an int; not, for instance, an integer of numpy's."""
    if not isinstance(value, int | DeviceAllocation):
        raise TypeError(f"did not match C++ signature: {type(value).__name__} is no address")
    return int(value)


def _handle(stream: "Stream | None") -> int:
    if stream is None:
        raise NotImplementedError("the stand-in has no default stream")
    if not isinstance(stream, Stream):
        raise TypeError(f"did not match C++ signature: {type(stream).__name__} is no stream")
    return stream.handle


def _buffer(value: Any, writable: bool) -> tuple[int, int]:
    """Address and size of any contiguous buffer."""
    array = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise BufferError("ndarray is not contiguous")
    if writable and not array.flags.writeable:
        raise BufferError("Object is not writable.")
    return array.ctypes.data, array.nbytes


class Stream(Dependent):
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        self.handle = called(cuda_work.cuStreamCreate, flags)

    def synchronize(self) -> None:
        called(cuda_work.cuStreamSynchronize, self.handle)

    def is_done(self) -> bool:
        return _is_ready(cuda_work.cuStreamQuery, self.handle)

    def wait_for_event(self, event: "Event") -> None:
        called(cuda_work.cuStreamWaitEvent, self.handle, event._handle)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            destroyed(self, cuda_work.cuStreamDestroy, self.handle)


class Event(Dependent):
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        self._handle = called(cuda_work.cuEventCreate, flags)

    def record(self, stream: Stream | None = None) -> "Event":
        called(cuda_work.cuEventRecord, self._handle, _handle(stream))
        return self

    def synchronize(self) -> "Event":
        called(cuda_work.cuEventSynchronize, self._handle)
        return self

    def query(self) -> bool:
        return _is_ready(cuda_work.cuEventQuery, self._handle)

    def time_since(self, event: "Event") -> float:
        return called(cuda_work.cuEventElapsedTime, event._handle, self._handle)

    def time_till(self, event: "Event") -> float:
        return called(cuda_work.cuEventElapsedTime, self._handle, event._handle)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            destroyed(self, cuda_work.cuEventDestroy, self._handle)


def _is_ready(query: Any, handle: int) -> bool:
    try:
        query(handle)
    except CudaError as error:
        if error.code == errors.NOT_READY:
            return False
        raise raised(query.__name__, error.code) from None
    return True

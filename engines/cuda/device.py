"""GPUs through pycuda: memory, streams and events of a device's primary context.

The primary context is the one that TensorRT and whatever else runs in the process uses. CUDA knows the current context
of each thread; `with device:` makes the device's current, and everything else here is to be called within.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from math import prod
from threading import Condition, Lock
from typing import Any, Self
from weakref import finalize

import numpy as np

from yais.engines.base import Array, EngineError, Shape
from yais.engines.cuda.driver import CudaDriver

# CU_STREAM_NON_BLOCKING, for which pycuda has no name.
_NON_BLOCKING = 1
# A registration covers whole pages, and two of the same page are an error.
_PAGE = mmap.PAGESIZE
# How long what goes on with a broken context may take to notice; opening an engine may take a while.
_PATIENCE_S = 60.0
_opening = Lock()


def open_device(index: int) -> "CudaDevice":
    """GPU number `index`, as CUDA counts them; the same object for all, since pycuda takes a primary context but once.

    Raises `EngineError` where there is no such GPU, no driver, or a package is missing.
    """
    with _opening:
        return _opened(index)


@cache
def _opened(index: int) -> "CudaDevice":
    return CudaDevice(index)


class CudaDevice:
    """One GPU. `generation` counts its contexts: what was made in an earlier one must not be used any more.

    What pycuda raises where the context is made current with it, and not caught there, becomes an `EngineError`.

    `on_reset` are called before a context ends, while it is still there, to release all that was made in it.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.generation = 0
        self.cuda = CudaDriver()
        self._driver = _find_driver()
        count = self._driver.Device.count()
        if index >= count:
            raise EngineError(f"--devices: GPU {index} does not exist; CUDA sees {count}")
        self._device = self._driver.Device(index)
        # A reset waits until nobody uses the context, and whoever comes meanwhile waits for the reset.
        self._changed = Condition()
        self._users = 0
        self._is_resetting = False
        # By address: what is page-locked, and which of it is no longer needed.
        self._pinned: dict[int, Array] = {}
        self._unwanted: deque[Array] = deque()
        self.on_reset: list[Callable[[], None]] = []
        self._context = self._retain()

    def __enter__(self) -> Self:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_resetting)
            self._users += 1
        try:
            self._context.push()
        except self.errors as error:
            self._forget_user()
            raise EngineError(f"GPU {self.index} cannot be used: {error}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # Popped whatever happened: CUDA's stack of contexts is the thread's, and the thread goes on.
        self._driver.Context.pop()
        self._forget_user()
        if isinstance(error, self.errors):
            raise EngineError(str(error)) from error

    def _forget_user(self) -> None:
        with self._changed:
            self._users -= 1
            if self._is_resetting:
                self._changed.notify_all()

    @property
    def name(self) -> str:
        return str(self._device.name())

    @property
    def capability(self) -> str:
        """Its compute capability, e.g. 9.0."""
        major, minor = self._device.compute_capability()
        return f"{major}.{minor}"

    @property
    def errors(self) -> type[Exception]:
        """The base of all that pycuda raises."""
        base: type[Exception] = self._driver.Error
        return base

    def is_healthy(self, stream: Any = None) -> bool:
        """Whether the context still works, once all that was put on `stream` is done.

        An error that is not of one call alone is reported by all further ones. To wait for the whole context would
        spoil what another thread is recording, and fail for that.
        """
        try:
            (stream or self.stream()).synchronize()
        except self.errors:
            return False
        return True

    def allocate(self, size: int) -> Any:
        """Memory of `size` bytes; `int()` of it is its address, and it is freed with the object.

        Raises `EngineError`.
        """
        try:
            # CUDA refuses to allocate nothing.
            return self._driver.mem_alloc(max(1, size))
        except self._driver.MemoryError as error:
            free, total = self._driver.mem_get_info()
            raise EngineError(
                f"no memory on GPU {self.index} for {_mebibytes(size)}: {_mebibytes(free)} of {_mebibytes(total)} are "
                "free; fewer --contexts, --workspaces or rows (--max-batch-size) need less"
            ) from error

    def stream(self) -> Any:
        """One that is not ordered with the default stream, which whatever else is in the process may use."""
        return self._driver.Stream(_NON_BLOCKING)

    def event(self, is_waited_for: bool = False) -> Any:
        """An event with a time. A thread that waits for one sleeps, where spinning would cost a core."""
        return self._driver.Event(self._driver.event_flags.BLOCKING_SYNC if is_waited_for else 0)

    def clear(self, address: int, size: int, stream: Any) -> None:
        """Has memory of the device set to zeros once `stream` comes to it."""
        self._driver.memset_d8_async(address, 0, size, stream)

    def copy_in(self, address: int, source: Array, stream: Any) -> None:
        """Has `source`, contiguous bytes, copied to the device once `stream` comes to it."""
        self._driver.memcpy_htod_async(address, source, stream)

    def copy_out(self, target: Array, address: int, stream: Any) -> None:
        """Has bytes of the device copied to `target` once `stream` comes to it."""
        self._driver.memcpy_dtoh_async(target, address, stream)

    def host_memory(self, size: int) -> Array:
        """Page-locked bytes, from which the device copies at full speed and while the thread goes on.

        It is the process's memory, registered with CUDA, and not CUDA's own: it stays readable when the context ends.
        """
        # Unpinned here, within a context; several threads may do so at once, and the list decides who has which.
        with suppress(IndexError):
            while True:
                address = self._unwanted.popleft().ctypes.data
                self.cuda.unpin(self._pinned[address])
                del self._pinned[address]
        pages = _pages(max(1, size))
        self.cuda.pin(pages)
        self._pinned[pages.ctypes.data] = pages
        return pages[:size]

    def give_back(self, memory: Array) -> None:
        """Such memory need not be page-locked any longer; on any thread, within a context or not."""
        self._unwanted.append(memory)

    def reset(self, generation: int) -> None:
        """Ends the context of `generation` with all that it has, and makes a new one, unless that has been done.

        Waits until no thread uses the device; the caller must not. Raises `EngineError` when it does not come back.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_resetting)
            if generation != self.generation:
                return
            self._is_resetting = True
            # Everybody notices that the context is broken, but a kernel that never ends notices nothing.
            is_left = self._changed.wait_for(lambda: not self._users, _PATIENCE_S)
        try:
            if not is_left:
                raise EngineError(f"GPU {self.index} hangs: a run on it does not end")
            self._renew()
        except self.errors as error:
            raise EngineError(f"GPU {self.index} does not come back: {error}") from error
        finally:
            with self._changed:
                self._is_resetting = False
                self._changed.notify_all()

    def _renew(self) -> None:
        with self._pushed():
            self._leave()
        self.cuda.reset_primary_context(self.index)
        # What is left of it is nothing to pycuda from now on: destroying it would hit what comes in its place.
        self._context.detach()
        self._context = self._retain()
        # Buffers outlive the context, but their registration does not.
        with self._pushed():
            for pages in self._pinned.values():
                self.cuda.pin(pages)
        # Last, so that a renewal that fails half way is none.
        self.generation += 1

    def _leave(self) -> None:
        """Lets go of what the context has; where it is broken that may fail, and all ends with it anyway."""
        for leave in self.on_reset:
            leave()
        self.on_reset.clear()
        for pages in self._pinned.values():
            with suppress(EngineError):
                self.cuda.unpin(pages)

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def _retain(self) -> Any:
        try:
            return self._device.retain_primary_context()
        except self.errors as error:
            raise EngineError(f"GPU {self.index} has no context: {error}") from error


def _find_driver() -> Any:
    """Pycuda's module, with CUDA's driver found. Raises `EngineError`."""
    try:
        driver = import_module("pycuda.driver")
    except ModuleNotFoundError as error:
        raise EngineError("a GPU needs pycuda: pip install 'yais[gpu]'") from error
    # libcuda.so comes with NVIDIA's driver, and pycuda is linked against it.
    except ImportError as error:
        raise EngineError(f"pycuda is installed, but finds no CUDA driver: {error}") from error
    try:
        driver.init()
    except driver.Error as error:
        raise EngineError(f"CUDA cannot be used: {error}; see to the GPU's driver") from error
    return driver


def _pages(size: int) -> Array:
    """Whole pages for `size` bytes."""
    # numpy aligns to 16 bytes, so one page more than is needed holds a page's beginning somewhere.
    needed = -(-size // _PAGE) * _PAGE
    memory = np.zeros(needed + _PAGE, np.uint8)
    start = -memory.ctypes.data % _PAGE
    return memory[start : start + needed]


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


class HostTensor:
    """Memory for arrays of one type, `size` bytes at first; it only ever grows."""

    def __init__(self, device: CudaDevice, dtype: np.dtype[Any], size: int = 0) -> None:
        self._device = device
        self._dtype = dtype
        self._reserve(size)

    def array(self, shape: Shape) -> Array:
        """The beginning of the memory as an array in C order."""
        return self.bytes(prod(shape) * self._dtype.itemsize).view(self._dtype).reshape(shape)

    def bytes(self, size: int) -> Array:
        """Its first `size` bytes."""
        if size > self._bytes.nbytes:
            # Twice as much as before, so that shapes that grow row by row do not pin memory each time.
            self._release()
            self._reserve(max(size, 2 * self._bytes.nbytes))
        return self._bytes[:size]

    def _reserve(self, size: int) -> None:
        self._bytes = self._device.host_memory(size)
        # Arrays that were made of it keep the memory itself for as long as they are used.
        self._release = finalize(self, self._device.give_back, self._bytes)

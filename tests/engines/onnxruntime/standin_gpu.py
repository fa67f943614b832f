"""GPU as engines know it, on a machine without one. Its memory is memory of the host."""

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import get_ident, local

import numpy as np

from yais.engines import Array, EngineError
from yais.engines.onnxruntime.graphs import SharedLock


class WatchedLock(SharedLock):
    """Knows how the thread that asks holds it: shared or exclusive, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self._modes = local()

    @property
    def mode(self) -> str | None:
        return getattr(self._modes, "now", None)

    @contextmanager
    def shared(self) -> Iterator[None]:
        with super().shared(), self._noted(self.mode or "shared"):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with super().exclusive(), self._noted("exclusive"):
            yield

    @contextmanager
    def _noted(self, mode: str) -> Iterator[None]:
        before, self._modes.now = self.mode, mode
        try:
            yield
        finally:
            self._modes.now = before


class CudaError(Exception):
    """What pycuda raises."""


class Memory:
    """A GPU's memory, of which nobody knows what it holds at first."""

    def __init__(self, size: int) -> None:
        self.array = np.full(max(1, size), 0xAB, np.uint8)

    def __int__(self) -> int:
        return self.array.ctypes.data


@dataclass
class Stream:
    """Copies are only made when it is waited for."""

    pending: list[tuple[int, int, int]] = field(default_factory=list)

    def synchronize(self) -> None:
        for copy in self.pending:
            ctypes.memmove(*copy)
        self.pending.clear()


@dataclass
class Gpu:
    """`copied`: the sizes of all copies in bytes, by direction. `memory`: what is allocated and not yet freed."""

    lock: WatchedLock
    index: int = 0
    is_working: bool = True
    room: int = 2**40
    errors: type[Exception] = CudaError
    copied: dict[str, list[int]] = field(default_factory=lambda: {"in": [], "out": []})
    memory: "weakref.WeakSet[Memory]" = field(default_factory=weakref.WeakSet)
    pinned: list[Array] = field(default_factory=list)
    current: dict[int, int] = field(default_factory=dict)

    def __enter__(self) -> "Gpu":
        self.current[get_ident()] = self.current.get(get_ident(), 0) + 1
        return self

    def __exit__(self, *_: object) -> None:
        self.current[get_ident()] -= 1

    def is_healthy(self) -> bool:
        self._require_current()
        return self.is_working

    def allocate(self, size: int) -> Memory:
        self._require_current()
        if size > self.room:
            raise EngineError(f"no memory on GPU {self.index} for {size} bytes")
        made = Memory(size)
        self.memory.add(made)
        return made

    def stream(self) -> Stream:
        self._require_current()
        return Stream()

    def copy_in(self, address: int, source: Array, stream: Stream) -> None:
        self._copy("in", address, source.ctypes.data, source, stream)

    def copy_out(self, target: Array, address: int, stream: Stream) -> None:
        self._copy("out", target.ctypes.data, address, target, stream)

    def host_memory(self, size: int) -> Array:
        self._require_current()
        self.pinned.append(np.zeros(max(1, size), np.uint8))
        return self.pinned[-1][:size]

    def give_back(self, memory: Array) -> None:
        self.pinned = [pinned for pinned in self.pinned if not np.shares_memory(pinned, memory)]

    def is_pinned(self, array: Array) -> bool:
        return any(np.shares_memory(array, memory) for memory in self.pinned)

    def _copy(self, direction: str, target: int, source: int, host: Array, stream: Stream) -> None:
        self._require_current()
        if not self.is_working:
            raise CudaError("cuMemcpyAsync failed: an illegal memory access was encountered")
        assert host.dtype == np.uint8
        assert host.flags.c_contiguous
        self.copied[direction].append(host.nbytes)
        stream.pending.append((target, source, host.nbytes))

    def _require_current(self) -> None:
        assert self.current.get(get_ident()), "this thread has no CUDA context"
        assert self.lock.mode, "somebody may be recording"

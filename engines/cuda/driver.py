"""CUDA's driver as cuda-bindings has it, for what pycuda lacks: graphs, page-locking, the end of a primary context.

All belongs to the context that is current. A stream is given by its handle.
"""

from bisect import bisect_left
from collections.abc import Callable
from importlib import import_module
from typing import Any

from yais.engines.base import Array, EngineError


class CudaDriver:
    """CUDA's driver as cuda-bindings has it. Raises `EngineError` where they are not installed."""

    def __init__(self) -> None:
        try:
            self._driver: Any = import_module("cuda.bindings.driver")
        except ImportError as error:
            raise EngineError(f"a GPU needs cuda-bindings: pip install 'yais[gpu]' ({error})") from error

    def record(self, stream: int, enqueue: Callable[[], None]) -> "CudaGraph":
        """What `enqueue` puts on the stream, as a graph, without running it. Raises `EngineError` as it does, too."""
        # Other threads go on: in the global mode, one that allocates meanwhile would make the capture fail.
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.call("cuStreamBeginCapture", stream, mode)
        try:
            enqueue()
        except BaseException:
            # A capture must be ended whatever became of it, or the stream takes nothing else.
            _, partial = self._driver.cuStreamEndCapture(stream)
            if partial:
                self._driver.cuGraphDestroy(partial)
            raise
        return CudaGraph(self, self.call("cuStreamEndCapture", stream))

    def pin(self, pages: Array) -> None:
        """Page-locks memory of this process, for all contexts. Raises `EngineError`."""
        # PORTABLE: page-locked in the contexts of all GPUs, not only in the one that is current.
        self.call("cuMemHostRegister", pages.ctypes.data, pages.nbytes, self._driver.CU_MEMHOSTREGISTER_PORTABLE)

    def unpin(self, pages: Array) -> None:
        """Takes that back. Raises `EngineError`."""
        self.call("cuMemHostUnregister", pages.ctypes.data)

    def reset_primary_context(self, device: int) -> None:
        """Destroys a device's primary context with all that it has, even if it is in use. Raises `EngineError`."""
        # CUDA's one way out of an error that sticks to a context, short of a new process.
        self.call("cuDevicePrimaryCtxReset", self.call("cuDeviceGet", device))

    def call(self, function: str, *arguments: Any) -> Any:
        """Calls CUDA; returns what it returns besides its status. Raises `EngineError` when that is not success."""
        status, *returned = getattr(self._driver, function)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            # Of a status that it does not know CUDA has no text.
            _, text = self._driver.cuGetErrorString(status)
            raise EngineError(f"{function} failed: {text.decode() if text else status}")
        return returned[0] if returned else None


class CudaGraph:
    """Work that was recorded once, to be launched at the cost of one call."""

    def __init__(self, cuda: CudaDriver, graph: Any) -> None:
        self._cuda = cuda
        # The executable graph is a copy of the graph, which is of no further use.
        try:
            self._ready = cuda.call("cuGraphInstantiate", graph, 0)
        finally:
            cuda.call("cuGraphDestroy", graph)

    def launch(self, stream: int) -> None:
        """Raises `EngineError`."""
        self._cuda.call("cuGraphLaunch", self._ready, stream)

    def free(self) -> None:
        """Raises `EngineError`."""
        self._cuda.call("cuGraphExecDestroy", self._ready)


def graph_sizes(max_batch: int) -> tuple[int, ...]:
    """The powers of two below `max_batch`, and `max_batch` itself, which is at least 1."""
    # At most half of a graph's rows are then padding.
    powers = (1 << bit for bit in range((max_batch - 1).bit_length()))
    return (*powers, max_batch)


def round_up(rows: int, sizes: tuple[int, ...]) -> int:
    """The smallest of `sizes`, which are in order, that has room for `rows`, which is at most the last of them."""
    return sizes[bisect_left(sizes, rows)]

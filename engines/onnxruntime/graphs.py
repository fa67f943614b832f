"""CUDA graphs of runs on ONNX Runtime, and the lock under which they are recorded.

ONNX Runtime keeps a graph for the thread that recorded it, replays it on the one stream that its session has, and in
the memory that was bound when it was recorded. An executor is therefore a thread with a session and device memory of
its own. Batches come from any context and any thread: their rows are copied to the executor's memory, and those of the
outputs back.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from threading import Condition, local
from time import perf_counter_ns
from typing import Any

import numpy as np

from yais.engines.base import Array, DeviceLostError, EngineError, EngineOptions, Run, Shape, TensorSpec
from yais.engines.cuda.device import CudaDevice
from yais.engines.cuda.driver import graph_sizes, round_up
from yais.engines.onnxruntime.session import ONNX_TYPES, ort, read_numeric_model

# What an error says when there is no memory: CUDA's own words, those of ONNX Runtime's arena, of cuBLAS and of cuDNN.
_NO_MEMORY = ("out of memory", "Failed to allocate memory", "ALLOC_FAILED")


class NoGraphsError(EngineError):
    """Runs that cannot be recorded as CUDA graphs, while they may well be possible otherwise."""


class SharedLock:
    """Any number inside together, or one alone, for whom newcomers wait; who is inside may come in again."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._is_claimed = False
        self._mine = local()

    @contextmanager
    def shared(self) -> Iterator[None]:
        if getattr(self._mine, "entered", False):
            yield
            return
        # Set before anything can wait, since the garbage collector may have this thread come in again at any point.
        self._mine.entered = True
        with self._changed:
            self._changed.wait_for(lambda: not self._is_claimed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()
            self._mine.entered = False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Not to be asked for by who is inside already."""
        self._mine.entered = True
        with self._changed:
            self._changed.wait_for(lambda: not self._is_claimed)
            # From here on newcomers wait, so that those inside get fewer and this cannot starve.
            self._is_claimed = True
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._is_claimed = False
                self._changed.notify_all()
            self._mine.entered = False


# While ONNX Runtime records a CUDA graph, CUDA refuses much of what any other thread of the process asks of it, and the
# end of a session would even end the process. So recording is done alone, and everything else is shared.
CAPTURE_LOCK = SharedLock()


@dataclass(frozen=True, slots=True)
class _DeviceTensor:
    """Device memory for the largest batch of one input or output."""

    spec: TensorSpec
    row_bytes: int
    memory: Any

    def bound(self, device: int, shape: Shape) -> tuple[Any, ...]:
        """The arguments with which it is bound to an IO binding."""
        return self.spec.name, "cuda", device, ONNX_TYPES[self.spec.dtype], shape, int(self.memory)


class GraphExecutor:
    """One run at a time, of a model without free dimensions.

    `opened` makes a session that records. Raises `NoGraphsError` when runs cannot be recorded, and what `opened` does.
    """

    def __init__(self, opened: Callable[[], ort.InferenceSession], options: EngineOptions, gpu: CudaDevice) -> None:
        self._gpu = gpu
        self._session = opened()
        self.model = read_numeric_model(self._session, options)
        self._sizes = graph_sizes(max(1, self.model.max_batch_size))
        self._recorded: dict[int, tuple[ort.IOBinding, ort.RunOptions]] = {}
        self._thread = ThreadPoolExecutor(1, "onnxruntime-graphs")
        free = next((spec for spec in self.model.specs if not spec.is_fixed), None)
        if free is not None:
            raise NoGraphsError(f"tensor '{free.name}' has free dimensions")
        self._thread.submit(self._prepare).result()

    def __del__(self) -> None:
        # The session is freed here, under the lock, since its end while another executor records ends the process.
        with CAPTURE_LOCK.shared():
            self.__dict__.clear()

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], rows: int) -> Run:
        """Runs the first rows of `inputs` into those of `outputs`, which are bytes, in the order of the model's.

        Raises `EngineError`.
        """
        return self._thread.submit(self._execute, inputs, outputs, rows).result()

    def _prepare(self) -> None:
        """Records a graph for each size of batch."""
        try:
            with CAPTURE_LOCK.shared(), self._gpu:
                self._stream = self._gpu.stream()
                self._inputs = [self._zeros(spec) for spec in self.model.inputs]
                self._outputs = [self._zeros(spec) for spec in self.model.outputs]
            # The largest first: the memory that it needs then does for the others.
            for size in reversed(self._sizes):
                self._record(size)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            raise NoGraphsError(str(error)) from error

    def _zeros(self, spec: TensorSpec) -> _DeviceTensor:
        """Memory that is cleared, since the first runs take what is in it for inputs."""
        row_bytes = prod(spec.shape) * spec.dtype.itemsize
        zeros = np.zeros(row_bytes * self._sizes[-1], np.uint8)
        tensor = _DeviceTensor(spec, row_bytes, self._gpu.allocate(zeros.nbytes))
        self._gpu.copy_in(int(tensor.memory), zeros, self._stream)
        self._stream.synchronize()
        return tensor

    def _record(self, size: int) -> None:
        options = ort.RunOptions()
        # A session has one graph for each id; without one, every size would replay the first.
        options.add_run_config_entry("gpu_graph_id", str(size))
        self._recorded[size] = self._bind(size), options
        with CAPTURE_LOCK.exclusive(), self._gpu:
            # The first run records, the second shows that the graph can be launched.
            self._replay(size)
            self._replay(size)

    def _bind(self, size: int) -> ort.IOBinding:
        binding = self._session.io_binding()
        for tensor in self._inputs:
            binding.bind_input(*tensor.bound(self._gpu.index, self._shape(tensor, size)))
        for tensor in self._outputs:
            binding.bind_output(*tensor.bound(self._gpu.index, self._shape(tensor, size)))
        return binding

    def _shape(self, tensor: _DeviceTensor, size: int) -> Shape:
        return (size, *tensor.spec.shape) if self.model.max_batch_size else tensor.spec.shape

    def _execute(self, inputs: Sequence[Array], outputs: Sequence[Array], rows: int) -> Run:
        size = round_up(rows, self._sizes)
        with CAPTURE_LOCK.shared(), self._gpu:
            try:
                began = perf_counter_ns()
                for tensor, host in zip(self._inputs, inputs, strict=True):
                    self._gpu.copy_in(int(tensor.memory), host[: rows * tensor.row_bytes], self._stream)
                # The graph is replayed on the session's own stream, which does not wait for this one.
                self._stream.synchronize()
                copied = perf_counter_ns()
                self._replay(size)
                ran = perf_counter_ns()
                # ONNX Runtime has waited for the replay, so the outputs are there.
                for tensor, host in zip(self._outputs, outputs, strict=True):
                    self._gpu.copy_out(host[: rows * tensor.row_bytes], int(tensor.memory), self._stream)
                self._stream.synchronize()
                return Run(ran - copied, copied - began, perf_counter_ns() - ran, size - rows)
            except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
                raise run_error(self._gpu, error) from error

    def _replay(self, size: int) -> None:
        binding, options = self._recorded[size]
        # The public method spends 6 us on checks for another kind of provider.
        self._session._sess.run_with_iobinding(binding._iobinding, options)


def run_error(gpu: CudaDevice, error: Exception) -> EngineError:
    """What the error of a run comes to. `gpu` is to be current."""
    if not gpu.is_healthy():
        return DeviceLostError(f"GPU {gpu.index} is lost to this process: {error}")
    if any(words in str(error) for words in _NO_MEMORY):
        return EngineError(f"no memory on GPU {gpu.index}: {error}; fewer --contexts, --workspaces or rows need less")
    return EngineError(str(error))

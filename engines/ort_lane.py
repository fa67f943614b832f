"""Runs that ONNX Runtime has recorded as CUDA graphs.

It keeps a graph for the thread that recorded it, replays it on the one stream that its session has, and in the memory
that was bound when it was recorded. A lane is therefore a thread with a session and device memory of its own. Batches
come from any context and any thread: their rows are copied to the lane's memory, and those of the outputs back.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from time import perf_counter_ns
from typing import Any

import numpy as np

from yais.engines.base import Array, EngineOptions, Run, Shape, TensorSpec
from yais.engines.cuda.device import Device
from yais.engines.ladder import ladder, step
from yais.engines.ort_gate import GATE
from yais.engines.ort_gpu import NoGraphsError, failure, read_numbers
from yais.engines.ort_session import ONNX_TYPES, ort


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Device memory for the largest batch of one input or output."""

    spec: TensorSpec
    row_bytes: int
    memory: Any

    def bound(self, device: int, shape: Shape) -> tuple[Any, ...]:
        """How an IO binding is told of it."""
        return self.spec.name, "cuda", device, ONNX_TYPES[self.spec.dtype], shape, int(self.memory)


class Lane:
    """One run at a time, of a model without free dimensions.

    `opened` makes a session that records. Raises `NoGraphsError` when runs cannot be recorded, and what `opened` does.
    """

    def __init__(self, opened: Callable[[], ort.InferenceSession], options: EngineOptions, gpu: Device) -> None:
        self._gpu = gpu
        self._session = opened()
        self.model = read_numbers(self._session, options)
        self._sizes = ladder(max(1, self.model.max_batch_size))
        self._recorded: dict[int, tuple[ort.IOBinding, ort.RunOptions]] = {}
        self._thread = ThreadPoolExecutor(1, "onnxruntime-graphs")
        self._refuse_free_dimensions()
        self._thread.submit(self._prepare).result()

    def __del__(self) -> None:
        # The session and all that it has are let go of here, where nobody is recording.
        with GATE.together():
            self.__dict__.clear()

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], rows: int) -> Run:
        """Runs the first rows of `inputs` into those of `outputs`, which are bytes, in the order of the model's.

        Raises `EngineError`.
        """
        return self._thread.submit(self._execute, inputs, outputs, rows).result()

    def _refuse_free_dimensions(self) -> None:
        for spec in self.model.specs:
            if not spec.is_fixed:
                raise NoGraphsError(f"tensor '{spec.name}' has free dimensions")

    def _prepare(self) -> None:
        """Records a graph for each size of batch."""
        try:
            with GATE.together(), self._gpu:
                self._stream = self._gpu.stream()
                self._inputs = [self._zeros(spec) for spec in self.model.inputs]
                self._outputs = [self._zeros(spec) for spec in self.model.outputs]
            # The largest first: the memory that it needs then does for the others.
            for size in reversed(self._sizes):
                self._record(size)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            raise NoGraphsError(str(error)) from error

    def _zeros(self, spec: TensorSpec) -> _Tensor:
        """Memory that is cleared, since the first runs take what is in it for inputs."""
        row_bytes = prod(spec.shape) * spec.dtype.itemsize
        zeros = np.zeros(row_bytes * self._sizes[-1], np.uint8)
        tensor = _Tensor(spec, row_bytes, self._gpu.allocate(zeros.nbytes))
        self._gpu.copy_in(int(tensor.memory), zeros, self._stream)
        self._stream.synchronize()
        return tensor

    def _record(self, size: int) -> None:
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(size))
        self._recorded[size] = self._bind(size), options
        with GATE.alone(), self._gpu:
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

    def _shape(self, tensor: _Tensor, size: int) -> Shape:
        return (size, *tensor.spec.shape) if self.model.max_batch_size else tensor.spec.shape

    def _execute(self, inputs: Sequence[Array], outputs: Sequence[Array], rows: int) -> Run:
        size = step(rows, self._sizes)
        with GATE.together(), self._gpu:
            try:
                began = perf_counter_ns()
                self._copy_in(zip(self._inputs, inputs, strict=True), rows)
                copied = perf_counter_ns()
                self._replay(size)
                ran = perf_counter_ns()
                self._copy_out(zip(self._outputs, outputs, strict=True), rows)
                return Run(ran - copied, copied - began, perf_counter_ns() - ran, size - rows)
            except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
                raise failure(self._gpu, error) from error

    def _copy_in(self, tensors: Iterable[tuple[_Tensor, Array]], rows: int) -> None:
        for tensor, host in tensors:
            self._gpu.copy_in(int(tensor.memory), host[: rows * tensor.row_bytes], self._stream)
        self._stream.synchronize()

    def _replay(self, size: int) -> None:
        binding, options = self._recorded[size]
        # The public method spends 6 us on checks for another kind of provider.
        self._session._sess.run_with_iobinding(binding._iobinding, options)

    def _copy_out(self, tensors: Iterable[tuple[_Tensor, Array]], rows: int) -> None:
        for tensor, host in tensors:
            self._gpu.copy_out(host[: rows * tensor.row_bytes], int(tensor.memory), self._stream)
        self._stream.synchronize()

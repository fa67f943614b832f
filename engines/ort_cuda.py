"""ONNX models on ONNX Runtime's CUDA provider, where TensorRT is missing.

Runs of a model whose shapes are fixed are recorded as CUDA graphs, for the sizes of batch of a ladder: the engine has
as many lanes as runs that go on at once, and its contexts are no more than page-locked buffers. Runs of other models,
or of those that cannot be recorded, share one session; ONNX Runtime itself then copies from and to the buffers that
are bound, so its time is that of the copies, too.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from yais.engines.base import Array, Context, EngineError, EngineOptions, InvalidInputError, Run, Shape, TensorSpec
from yais.engines.cuda.device import Device, open_device
from yais.engines.cuda.host import HostTensor
from yais.engines.ort_context import BoundContext
from yais.engines.ort_gate import GATE
from yais.engines.ort_gpu import NoGraphsError, failure, open_session, read_numbers, require_provider
from yais.engines.ort_lane import Lane
from yais.engines.ort_session import PLATFORM, Model, ort

logger = logging.getLogger("yais.engines.ort")


def open_onnx_on_ort_cuda(path: Path, options: EngineOptions, device: int = 0) -> "OrtCudaEngine":
    """Loads an ONNX file on GPU number `device`. Raises `EngineError` when ONNX Runtime cannot."""
    try:
        require_provider()
        gpu = open_device(device)
        return _open(path, options, gpu)
    except EngineError as error:
        raise type(error)(f"engine '{path}': {error}") from error


def _open(path: Path, options: EngineOptions, gpu: Device) -> "OrtCudaEngine":
    opened = partial(open_session, path, options, gpu)
    if options.graphs:
        try:
            return _open_with_graphs(opened, options, gpu)
        except NoGraphsError as error:
            # As text: through its frames, an error that a record keeps would keep what was taken on the GPU.
            logger.warning("engine '%s' runs without CUDA graphs: %s", path, str(error))
    session = opened(False)
    model = read_numbers(session, options)
    return OrtCudaEngine(model, gpu, partial(HostContext, session, model, gpu))


def _open_with_graphs(
    opened: Callable[[bool], ort.InferenceSession], options: EngineOptions, gpu: Device
) -> "OrtCudaEngine":
    """Raises `NoGraphsError`, when all that was taken on the GPU is given back."""
    lanes: SimpleQueue[Lane] = SimpleQueue()
    for _ in range(options.workspaces or options.contexts):
        lane = Lane(partial(opened, True), options, gpu)
        lanes.put(lane)
    return OrtCudaEngine(lane.model, gpu, partial(GraphContext, lanes, lane.model, gpu))


class OrtCudaEngine:
    """An ONNX model on one GPU."""

    platform = PLATFORM

    def __init__(self, model: Model, gpu: Device, make_context: Callable[[], Context]) -> None:
        self.device = f"cuda:{gpu.index}"
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.max_batch_size = model.max_batch_size
        self._make_context = make_context

    def create_context(self) -> Context:
        return self._make_context()


class GraphContext:
    """Page-locked buffers; each run takes the lane that has been free for longest."""

    def __init__(self, lanes: "SimpleQueue[Lane]", model: Model, gpu: Device) -> None:
        self._lanes = lanes
        self._shapes = tuple(spec.shape for spec in model.inputs)
        self._held: list[HostTensor] = []
        rows = max(1, model.max_batch_size)
        locked = partial(_page_locked, gpu, self._held)
        self.inputs = {spec.name: locked(spec, (rows, *spec.shape)) for spec in model.inputs}
        self.outputs = {spec.name: locked(spec, (rows, *spec.shape)) for spec in model.outputs}
        self._input_bytes = [_bytes(array) for array in self.inputs.values()]
        self._output_bytes = [_bytes(array) for array in self.outputs.values()]

    def fit(self, shapes: Sequence[Shape]) -> None:
        if tuple(shapes) != self._shapes:
            raise InvalidInputError(f"inputs have the shapes {list(shapes)}, the model's are {list(self._shapes)}")

    def execute(self, rows: int) -> Run:
        lane = self._lanes.get()
        try:
            return lane.run(self._input_bytes, self._output_bytes, rows)
        finally:
            self._lanes.put(lane)


class HostContext(BoundContext):
    """Buffers that ONNX Runtime is bound to. They are page-locked where no request can make them larger."""

    def __init__(self, session: ort.InferenceSession, model: Model, gpu: Device) -> None:
        self._gpu = gpu
        self._held: list[HostTensor] = []
        super().__init__(session, model)

    def execute(self, rows: int) -> Run:
        with GATE.together(), self._gpu:
            try:
                return super().execute(rows)
            except EngineError as error:
                raise failure(self._gpu, error) from error

    def _buffer(self, spec: TensorSpec, shape: Shape) -> Array:
        if self._model.is_fixed:
            return _page_locked(self._gpu, self._held, spec, (self._capacity, *shape))
        return super()._buffer(spec, shape)


def _page_locked(gpu: Device, held: list[HostTensor], spec: TensorSpec, shape: Shape) -> Array:
    """An array whose memory is page-locked for as long as what is added to `held` is kept."""
    with GATE.together(), gpu:
        held.append(HostTensor(gpu, spec.dtype, prod(shape) * spec.dtype.itemsize))
    return held[-1].array(shape)


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)

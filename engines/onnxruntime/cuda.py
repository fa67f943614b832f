"""ONNX models on ONNX Runtime's CUDA provider, where TensorRT is missing.

Runs of a model whose shapes are fixed are recorded as CUDA graphs, for a few sizes of batch: the engine has as many
executors of graphs as runs that go on at once, and its contexts are no more than page-locked buffers. Runs of other
models, or of those that cannot be recorded, share one session; ONNX Runtime itself then copies from and to the buffers
that are bound, so its time is that of the copies, too.
"""

import ctypes
import logging
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from math import prod
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from yais.engines.base import (
    Array,
    Context,
    EngineError,
    EngineOptions,
    InvalidInputError,
    Run,
    Shape,
    TensorSpec,
)
from yais.engines.cuda.device import CudaDevice, HostTensor, open_device
from yais.engines.onnxruntime.cpu import OrtContext
from yais.engines.onnxruntime.graphs import CAPTURE_LOCK, GraphExecutor, NoGraphsError, run_error
from yais.engines.onnxruntime.session import PLATFORM, OrtModel, ort, read_numeric_model, session_options

logger = logging.getLogger(__name__)

_PROVIDER = "CUDAExecutionProvider"
# What it says of a model that has control flow, or nodes that only the CPU can run.
_NO_GRAPHS = ("graph capture feature", "CUDA Graph feature")


def require_provider() -> None:
    """Raises `EngineError` when the installed ONNX Runtime is one for CPUs."""
    if _PROVIDER not in ort.get_available_providers():
        raise EngineError("this onnxruntime cannot use a GPU: pip install onnxruntime-gpu instead of onnxruntime")


def open_session(path: Path, options: EngineOptions, gpu: CudaDevice, graphs: bool) -> ort.InferenceSession:
    """A session that runs on `gpu`, and on the CPU what the provider cannot. Raises `EngineError`.

    `graphs`: whether it records its runs, which it then does one at a time.
    """
    if hasattr(ort, "preload_dlls"):
        # CUDA's libraries may be NVIDIA's Python packages, where the provider itself does not look for them. What is
        # not found is printed, although the provider may not need it.
        with redirect_stdout(StringIO()):
            ort.preload_dlls()
    provider_options = {
        "device_id": str(gpu.index),
        "enable_cuda_graph": str(int(graphs)),
        # Memory is taken as needed, not doubled each time, since sessions share the GPU.
        "arena_extend_strategy": "kSameAsRequested",
        # The default measures algorithms of convolutions: for seconds, and anew with each size of batch.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    providers = [(_PROVIDER, provider_options), "CPUExecutionProvider"]
    with CAPTURE_LOCK.shared(), gpu:
        try:
            # Without the fallback, which prints what went wrong, and goes on with the CPU alone.
            session = ort.InferenceSession(path, session_options(options), providers=providers, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            if any(words in str(error) for words in _NO_GRAPHS):
                raise NoGraphsError(str(error)) from error
            found = run_error(gpu, error)
            raise type(found)(f"ONNX Runtime cannot load it on GPU {gpu.index}: {found}") from error
    # A provider whose library cannot be loaded is left out of the session without an error.
    if _PROVIDER not in session.get_providers():
        raise EngineError(f"ONNX Runtime's CUDA provider cannot be loaded: {_provider_load_error()}")
    return session


def _provider_load_error() -> str:
    # ONNX Runtime only prints why, so the loader is asked again.
    library = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{error}; pip install 'onnxruntime-gpu[cuda,cudnn]'"
    return "it does not say why"


def open_onnx_on_ort_cuda(path: Path, options: EngineOptions, device: int = 0) -> "OrtCudaEngine":
    """Loads an ONNX file on GPU number `device`. Raises `EngineError` when ONNX Runtime cannot."""
    try:
        require_provider()
        gpu = open_device(device)
        return _open(path, options, gpu)
    except EngineError as error:
        raise type(error)(f"engine '{path}': {error}") from error


def _open(path: Path, options: EngineOptions, gpu: CudaDevice) -> "OrtCudaEngine":
    opened = partial(open_session, path, options, gpu)
    if options.graphs:
        try:
            return _open_with_graphs(opened, options, gpu)
        except NoGraphsError as error:
            # As text: through its frames, an error that a record keeps would keep what was taken on the GPU.
            logger.warning("engine '%s' runs without CUDA graphs: %s", path, str(error))
    session = opened(False)
    model = read_numeric_model(session, options)
    return OrtCudaEngine(model, gpu, partial(HostContext, session, model, gpu))


def _open_with_graphs(
    opened: Callable[[bool], ort.InferenceSession], options: EngineOptions, gpu: CudaDevice
) -> "OrtCudaEngine":
    """Raises `NoGraphsError`, when all that was taken on the GPU is given back."""
    # Each executor has a session, and so the weights, of its own: memory is the price of recorded runs side by side.
    executors: SimpleQueue[GraphExecutor] = SimpleQueue()
    for _ in range(options.workspaces or options.contexts):
        executor = GraphExecutor(partial(opened, True), options, gpu)
        executors.put(executor)
    return OrtCudaEngine(executor.model, gpu, partial(GraphContext, executors, executor.model, gpu))


class OrtCudaEngine:
    """An ONNX model on one GPU."""

    platform = PLATFORM

    def __init__(self, model: OrtModel, gpu: CudaDevice, make_context: Callable[[], Context]) -> None:
        self.device = f"cuda:{gpu.index}"
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.max_batch_size = model.max_batch_size
        self.declares_batch = model.declares_batch
        self._make_context = make_context

    def create_context(self) -> Context:
        return self._make_context()

    def close(self) -> None:
        """Needs no call: sessions and page-locked memory go with the last that refers to them."""


class GraphContext:
    """Page-locked buffers; each run takes the executor that has been free for longest."""

    def __init__(self, executors: "SimpleQueue[GraphExecutor]", model: OrtModel, gpu: CudaDevice) -> None:
        self._executors = executors
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
        executor = self._executors.get()
        try:
            return executor.run(self._input_bytes, self._output_bytes, rows)
        finally:
            self._executors.put(executor)


class HostContext(OrtContext):
    """OrtBuffers that ONNX Runtime is bound to. They are page-locked where no request can make them larger."""

    def __init__(self, session: ort.InferenceSession, model: OrtModel, gpu: CudaDevice) -> None:
        self._gpu = gpu
        self._held: list[HostTensor] = []
        # This makes the buffers, for which the above is needed.
        super().__init__(session, model)

    def execute(self, rows: int) -> Run:
        with CAPTURE_LOCK.shared(), self._gpu:
            try:
                return super().execute(rows)
            except EngineError as error:
                raise run_error(self._gpu, error) from error

    def _buffer(self, spec: TensorSpec, shape: Shape) -> Array:
        if self._model.is_fixed:
            return _page_locked(self._gpu, self._held, spec, (self._capacity, *shape))
        return super()._buffer(spec, shape)


def _page_locked(gpu: CudaDevice, held: list[HostTensor], spec: TensorSpec, shape: Shape) -> Array:
    """An array whose memory is page-locked for as long as what is added to `held` is kept."""
    with CAPTURE_LOCK.shared(), gpu:
        held.append(HostTensor(gpu, spec.dtype, prod(shape) * spec.dtype.itemsize))
    return held[-1].array(shape)


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)

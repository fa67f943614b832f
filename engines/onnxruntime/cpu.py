"""ONNX models on ONNX Runtime's CPU provider.

All contexts share one session, so the weights are in memory once; a session may run from many threads at a time.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from yais.engines.base import Array, EngineError, EngineOptions, InvalidInputError, Run, Shape, TensorSpec
from yais.engines.onnxruntime.session import ONNX_TYPES, PLATFORM, OrtModel, ort, read_model, session_options


class OrtBuffers:
    """The batch buffers that all kinds of context have."""

    def __init__(self, model: OrtModel) -> None:
        self._model = model
        self._capacity = max(1, model.max_batch_size)
        self._shapes: tuple[Shape, ...] | None = None
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        if all(spec.is_fixed for spec in model.inputs):
            self.fit(tuple(spec.shape for spec in model.inputs))

    def fit(self, shapes: Sequence[Shape]) -> None:
        if shapes != self._shapes:
            specs = zip(self._model.inputs, shapes, strict=True)
            self.inputs = {spec.name: self._buffer(spec, shape) for spec, shape in specs}
            self._shapes = tuple(shapes)
            self._rebind()

    def _rebind(self) -> None:
        """Called when the input buffers are new ones."""

    def _buffer(self, spec: TensorSpec, shape: Shape) -> Array:
        try:
            # Zeros, for memory that is only reserved until it is written: most batches are not the largest.
            return np.zeros((self._capacity, *shape), spec.dtype)
        except MemoryError as error:
            raise InvalidInputError(f"tensor '{spec.name}': no memory for {self._capacity} rows of {shape}") from error

    def _rows(self, buffer: Array, rows: int) -> Array:
        """What the model sees of a buffer: its first rows, or the only row itself without a batch dimension."""
        return buffer[:rows] if self._model.max_batch_size else buffer[0, ...]

    def _keep(self, spec: TensorSpec, value: Array, rows: int) -> None:
        """Makes `value`, as the model gave it, the output buffer; a model that mixes its rows is found out here."""
        batch = value if self._model.max_batch_size else value[np.newaxis]
        if batch.ndim == 0 or len(batch) != rows:
            raise EngineError(f"output '{spec.name}' has shape {list(value.shape)} for a batch of {rows} rows")
        self.outputs[spec.name] = batch


class OrtContext(OrtBuffers):
    """Runs on IO bindings to its own buffers, one binding for each number of rows.

    ONNX Runtime makes the first outputs of free dimensions itself. Their dimensions are then expected to be the same
    for all inputs of the same shapes, and buffers are bound for them; a model that gives others after all fails the
    run, which is repeated without such buffers, and they are not tried again.
    """

    def __init__(self, session: ort.InferenceSession, model: OrtModel) -> None:
        self._session = session
        # The public method spends 6 us, more than a small run, on checks for another kind of provider.
        self._run = session._sess.run_with_iobinding
        self._run_options = ort.RunOptions()
        self._can_expect = True
        super().__init__(model)

    def execute(self, rows: int) -> Run:
        binding = self._bindings.get(rows) or self._bind(rows)
        started = perf_counter_ns()
        try:
            self._run(binding._iobinding, self._run_options)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            if not self._expected:
                raise EngineError(str(error)) from error
            return self._execute_unexpected(rows)
        elapsed = perf_counter_ns() - started
        if self._unbound:
            self._take(binding, rows)
        return Run(elapsed)

    def _rebind(self) -> None:
        self._bindings: dict[int, ort.IOBinding] = {}
        self._expected: dict[str, Array] = {}
        self._unbound = [output for output in enumerate(self._model.outputs) if not output[1].is_fixed]

    def _bind(self, rows: int) -> ort.IOBinding:
        binding = self._session.io_binding()
        # ONNX Runtime keeps addresses alone: that the arrays live as long as the binding is up to this context.
        for name, buffer in self.inputs.items():
            part = self._rows(buffer, rows)
            binding.bind_input(name, "cpu", 0, ONNX_TYPES[part.dtype], part.shape, part.ctypes.data)
        for spec in self._model.outputs:
            if spec.is_fixed and spec.name not in self.outputs:
                self.outputs[spec.name] = self._buffer(spec, spec.shape)
            if spec.name in self._expected:
                self.outputs[spec.name] = self._expected[spec.name]
            if spec.is_fixed or spec.name in self._expected:
                part = self._rows(self.outputs[spec.name], rows)
                binding.bind_output(spec.name, "cpu", 0, ONNX_TYPES[part.dtype], part.shape, part.ctypes.data)
            else:
                # Without an address, ONNX Runtime allocates what the shape turns out to need.
                binding.bind_output(spec.name, "cpu")
        self._bindings[rows] = binding
        return binding

    def _take(self, binding: ort.IOBinding, rows: int) -> None:
        """Takes the outputs that ONNX Runtime made, and prepares buffers of their kind for the next run.

        The binding is of no more use: it holds on to these outputs, and a next run with others would fail.
        """
        self._bindings = {}
        for index, spec in self._unbound:
            value = binding.get_outputs()[index]
            # A copy of the bytes, since `OrtValue.numpy` knows no BF16.
            array = np.empty(value.shape(), spec.dtype)
            ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
            self._keep(spec, array, rows)
        if self._can_expect:
            self._expected = {
                spec.name: self._buffer(spec, self.outputs[spec.name].shape[1:]) for _, spec in self._unbound
            }
            self._unbound = []

    def _execute_unexpected(self, rows: int) -> Run:
        """Runs again without expectations; should that fail too, they were not at fault."""
        self._rebind()
        self._can_expect = False
        try:
            return self.execute(rows)
        except EngineError:
            self._can_expect = True
            raise


class StringContext(OrtBuffers):
    """Runs without IO bindings, which ONNX Runtime does not have for strings. ONNX strings are UTF-8."""

    def __init__(self, session: ort.InferenceSession, model: OrtModel) -> None:
        self._session = session
        super().__init__(model)

    def execute(self, rows: int) -> Run:
        feeds = {name: _decoded(name, self._rows(buffer, rows)) for name, buffer in self.inputs.items()}
        started = perf_counter_ns()
        try:
            values = self._session.run(None, feeds)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            raise EngineError(str(error)) from error
        elapsed = perf_counter_ns() - started
        for spec, value in zip(self._model.outputs, values, strict=True):
            self._keep(spec, _encoded(value), rows)
        return Run(elapsed)


def open_onnx(path: Path, options: EngineOptions) -> "OrtEngine":
    """Loads an ONNX file. Raises `EngineError` when ONNX Runtime cannot."""
    try:
        session = ort.InferenceSession(path, session_options(options), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
        raise EngineError(f"engine '{path}': not a model that ONNX Runtime can load: {error}") from error
    try:
        return OrtEngine(session, read_model(session, options))
    except EngineError as error:
        raise EngineError(f"engine '{path}': {error}") from error


class OrtEngine:
    """An ONNX model in one session."""

    platform = PLATFORM
    device = "cpu"

    def __init__(self, session: ort.InferenceSession, model: OrtModel) -> None:
        self.session = session
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.max_batch_size = model.max_batch_size
        self.declares_batch = model.declares_batch
        self._model = model

    def create_context(self) -> OrtContext | StringContext:
        # One string anywhere rules IO bindings out for the whole model.
        kind = StringContext if self._model.has_strings else OrtContext
        return kind(self.session, self._model)

    def close(self) -> None:
        """Has nothing on a device; the session goes with the last context."""


def _decoded(name: str, array: Array) -> Array:
    # The inputs of such a model need not all be strings.
    if array.dtype != np.object_:
        return array
    text = np.empty_like(array)
    try:
        text.ravel()[:] = [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"input '{name}' has an element that is not UTF-8: {error}") from error
    return text


def _encoded(array: Array) -> Array:
    if array.dtype != np.object_:
        return array
    data = np.empty_like(array)
    data.ravel()[:] = [element.encode() for element in array.ravel()]
    return data

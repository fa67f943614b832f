"""ONNX models on ONNX Runtime's CPU provider.

All contexts share one session, so the weights are in memory once; a session may run from many threads at a time.
"""

import ctypes
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import ml_dtypes
import numpy as np

# ONNX Runtime's packages report usage to their maker unless told not to before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from yais.engines.base import Array, EngineError, EngineOptions, InvalidInputError, Shape, TensorSpec
from yais.engines.cores import threads_per_context, usable_cores

# The metadata entry in which `engine-build` records the largest batch of a model, 0 for no batch dimension.
MAX_BATCH_SIZE_KEY = "yais.max_batch_size"
DEFAULT_MAX_BATCH_SIZE = 8

# ONNX Runtime's type name -> (numpy dtype, number in ONNX's TensorProto.DataType, which IO binding asks for).
_TYPES: dict[str, tuple[np.dtype[Any], int]] = {
    "tensor(float)": (np.dtype(np.float32), 1),
    "tensor(uint8)": (np.dtype(np.uint8), 2),
    "tensor(int8)": (np.dtype(np.int8), 3),
    "tensor(uint16)": (np.dtype(np.uint16), 4),
    "tensor(int16)": (np.dtype(np.int16), 5),
    "tensor(int32)": (np.dtype(np.int32), 6),
    "tensor(int64)": (np.dtype(np.int64), 7),
    "tensor(string)": (np.dtype(np.object_), 8),
    "tensor(bool)": (np.dtype(np.bool_), 9),
    "tensor(float16)": (np.dtype(np.float16), 10),
    "tensor(double)": (np.dtype(np.float64), 11),
    "tensor(uint32)": (np.dtype(np.uint32), 12),
    "tensor(uint64)": (np.dtype(np.uint64), 13),
    "tensor(bfloat16)": (np.dtype(ml_dtypes.bfloat16), 16),
}
_ONNX_TYPES: dict[np.dtype[Any], int] = dict(_TYPES.values())


def open_onnx(path: Path, options: EngineOptions) -> "OrtEngine":
    """Loads an ONNX file. Raises `EngineError` when ONNX Runtime cannot."""
    session_options = ort.SessionOptions()
    session_options.log_severity_level = 3
    session_options.intra_op_num_threads = options.threads or threads_per_context(options.contexts, usable_cores())
    try:
        session = ort.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
        raise EngineError(f"engine '{path}': not a model that ONNX Runtime can load: {error}") from error
    try:
        return OrtEngine(session, _max_batch_size(session, options))
    except EngineError as error:
        raise EngineError(f"engine '{path}': {error}") from error


def _max_batch_size(session: ort.InferenceSession, options: EngineOptions) -> int:
    """What the model declares, bounded by the option; a model that declares nothing batches if every tensor could."""
    declared = session.get_modelmeta().custom_metadata_map.get(MAX_BATCH_SIZE_KEY)
    batchable = bool(session.get_inputs()) and all(
        _varies(node.shape[:1]) for node in (*session.get_inputs(), *session.get_outputs())
    )
    asked = options.max_batch_size
    if declared is not None and not declared.isdecimal():
        raise EngineError(f"{MAX_BATCH_SIZE_KEY} is {declared!r}, not a number")
    if declared is not None and int(declared) > 0 and not batchable:
        raise EngineError(f"{MAX_BATCH_SIZE_KEY} is {declared}, but a tensor has a fixed first dimension")
    if declared is not None:
        return int(declared) if asked is None else min(int(declared), asked)
    if not batchable:
        return 0
    return DEFAULT_MAX_BATCH_SIZE if asked is None else asked


def _varies(dims: Iterable[int | str | None]) -> bool:
    """Whether there are dimensions and all are free: fixed ones are int, free ones str or None."""
    kinds = [isinstance(dim, int) for dim in dims]
    return bool(kinds) and not any(kinds)


def _spec(node: ort.NodeArg, max_batch_size: int) -> TensorSpec:
    if node.type not in _TYPES:
        raise EngineError(f"tensor '{node.name}' is a {node.type}, which the inference protocol cannot carry")
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in node.shape)
    return TensorSpec(node.name, _TYPES[node.type][0], shape[1:] if max_batch_size else shape)


class OrtEngine:
    """An ONNX model in one session."""

    platform = "onnxruntime_onnx"
    device = "cpu"

    def __init__(self, session: ort.InferenceSession, max_batch_size: int) -> None:
        self.session = session
        self.max_batch_size = max_batch_size
        self.inputs = tuple(_spec(node, max_batch_size) for node in session.get_inputs())
        self.outputs = tuple(_spec(node, max_batch_size) for node in session.get_outputs())

    def create_context(self) -> "BoundContext | StringContext":
        if any(spec.dtype == np.object_ for spec in chain(self.inputs, self.outputs)):
            return StringContext(self)
        return BoundContext(self)


class _Buffers:
    """The batch buffers that both kinds of context have."""

    def __init__(self, engine: OrtEngine) -> None:
        self._engine = engine
        self._capacity = max(1, engine.max_batch_size)
        self._shapes: tuple[Shape, ...] | None = None
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        if all(spec.is_fixed for spec in engine.inputs):
            self.fit(tuple(spec.shape for spec in engine.inputs))

    def fit(self, shapes: Sequence[Shape]) -> None:
        if shapes != self._shapes:
            specs = zip(self._engine.inputs, shapes, strict=True)
            self.inputs = {spec.name: self._buffer(spec, shape) for spec, shape in specs}
            self._shapes = tuple(shapes)
            self._rebind()

    def _rebind(self) -> None:
        """Called when the input buffers are new ones."""

    def _buffer(self, spec: TensorSpec, shape: Shape) -> Array:
        try:
            return np.zeros((self._capacity, *shape), spec.dtype)
        except MemoryError as error:
            raise InvalidInputError(f"tensor '{spec.name}': no memory for {self._capacity} rows of {shape}") from error

    def _rows(self, buffer: Array, rows: int) -> Array:
        """What the model sees of a buffer: its first rows, or the only row itself without a batch dimension."""
        return buffer[:rows] if self._engine.max_batch_size else buffer[0, ...]

    def _keep(self, spec: TensorSpec, value: Array, rows: int) -> None:
        """Makes `value`, as the model gave it, the output buffer; a model that mixes its rows is found out here."""
        batch = value if self._engine.max_batch_size else value[np.newaxis]
        if batch.ndim == 0 or len(batch) != rows:
            raise EngineError(f"output '{spec.name}' has shape {list(value.shape)} for a batch of {rows} rows")
        self.outputs[spec.name] = batch


class BoundContext(_Buffers):
    """Runs on IO bindings to its own buffers, one binding for each number of rows.

    ONNX Runtime makes the first outputs of free dimensions itself. Their dimensions are then expected to be the same
    for all inputs of the same shapes, and buffers are bound for them; a model that gives others after all fails the
    run, which is repeated without such buffers, and they are not tried again.
    """

    def __init__(self, engine: OrtEngine) -> None:
        # The public method spends 6 us, more than a small run, on checks for another kind of provider.
        self._run = engine.session._sess.run_with_iobinding
        self._run_options = ort.RunOptions()
        self._can_expect = True
        super().__init__(engine)

    def execute(self, rows: int) -> int:
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
        return elapsed

    def _rebind(self) -> None:
        self._bindings: dict[int, ort.IOBinding] = {}
        self._expected: dict[str, Array] = {}
        self._unbound = [each for each in enumerate(self._engine.outputs) if not each[1].is_fixed]

    def _bind(self, rows: int) -> ort.IOBinding:
        binding = self._engine.session.io_binding()
        for name, buffer in self.inputs.items():
            part = self._rows(buffer, rows)
            binding.bind_input(name, "cpu", 0, _ONNX_TYPES[part.dtype], part.shape, part.ctypes.data)
        for spec in self._engine.outputs:
            self._bind_output(binding, spec, rows)
        self._bindings[rows] = binding
        return binding

    def _bind_output(self, binding: ort.IOBinding, spec: TensorSpec, rows: int) -> None:
        if spec.is_fixed and spec.name not in self.outputs:
            self.outputs[spec.name] = self._buffer(spec, spec.shape)
        if spec.name in self._expected:
            self.outputs[spec.name] = self._expected[spec.name]
        if spec.is_fixed or spec.name in self._expected:
            part = self._rows(self.outputs[spec.name], rows)
            binding.bind_output(spec.name, "cpu", 0, _ONNX_TYPES[part.dtype], part.shape, part.ctypes.data)
        else:
            binding.bind_output(spec.name, "cpu")

    def _take(self, binding: ort.IOBinding, rows: int) -> None:
        """Takes the outputs that ONNX Runtime made, and prepares buffers of their kind for the next run.

        The binding is of no more use: it holds on to these outputs, and a next run with others would fail.
        """
        self._bindings = {}
        for index, spec in self._unbound:
            self._keep(spec, _copied(binding.get_outputs()[index], spec), rows)
        if self._can_expect:
            self._expected = {
                spec.name: self._buffer(spec, self.outputs[spec.name].shape[1:]) for _, spec in self._unbound
            }
            self._unbound = []

    def _execute_unexpected(self, rows: int) -> int:
        """Runs again without expectations; should that fail too, they were not at fault."""
        self._rebind()
        self._can_expect = False
        try:
            return self.execute(rows)
        except EngineError:
            self._can_expect = True
            raise


class StringContext(_Buffers):
    """Runs without IO bindings, which ONNX Runtime does not have for strings. ONNX strings are UTF-8."""

    def execute(self, rows: int) -> int:
        feeds = {name: _decoded(name, self._rows(buffer, rows)) for name, buffer in self.inputs.items()}
        started = perf_counter_ns()
        try:
            values = self._engine.session.run(None, feeds)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
            raise EngineError(str(error)) from error
        elapsed = perf_counter_ns() - started
        for spec, value in zip(self._engine.outputs, values, strict=True):
            self._keep(spec, _encoded(value), rows)
        return elapsed


def _copied(value: ort.OrtValue, spec: TensorSpec) -> Array:
    """The elements of `value`, whose own `numpy` knows no BF16."""
    array = np.empty(value.shape(), spec.dtype)
    ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array


def _decoded(name: str, array: Array) -> Array:
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

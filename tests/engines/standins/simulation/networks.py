"""Computation of a simulated plan: an ONNX model, run by ONNX Runtime on the CPU."""

import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

Shape = tuple[int, ...]
Shapes = tuple[tuple[str, Shape], ...]

# Types that TensorRT has for inputs and outputs -> bytes of an element.
SIZES = {
    TensorProto.FLOAT: 4,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.INT32: 4,
    TensorProto.INT64: 8,
    TensorProto.BOOL: 1,
}
# Operators whose outputs' shapes depend on what their inputs hold.
_DATA_DEPENDENT = {"NonZero", "NonMaxSuppression", "Compress", "Unique"}


class Tensor(NamedTuple):
    """`shape` has -1 for what varies."""

    name: str
    elem_type: int
    shape: Shape

    def nbytes(self, shape: Shape) -> int:
        return prod(shape) * SIZES[self.elem_type]


class Network:
    """An ONNX model; may be run by several threads."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.model = onnx.load_from_string(data)
        constants = {each.name for each in self.model.graph.initializer}
        self.inputs = {each.name: _tensor(each) for each in self.model.graph.input if each.name not in constants}
        self.outputs = {each.name: _tensor(each) for each in self._inferred({}).graph.output}
        self.output_shapes = lru_cache(maxsize=256)(self._output_shapes)

    @cached_property
    def session(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        return ort.InferenceSession(self.data, options, providers=["CPUExecutionProvider"])

    @property
    def is_data_dependent(self) -> bool:
        return any(node.op_type in _DATA_DEPENDENT for node in self.model.graph.node)

    def most_bytes(self, shapes: Shapes) -> dict[str, int]:
        """Of each output, as much as it can have: where what is in the inputs decides that, if they are all ones."""
        known = self.output_shapes(shapes)
        if any(-1 in shape for shape in known.values()):
            values = self._computed(shapes, np.ones)
            known = {name: values[name].shape() if -1 in shape else shape for name, shape in known.items()}
        return {name: self.outputs[name].nbytes(tuple(shape)) for name, shape in known.items()}

    def run(self, places: Mapping[str, tuple[int, Shape]]) -> dict[str, ort.OrtValue]:
        """The outputs for inputs at these places in this process."""
        binding = self.session.io_binding()
        for name, (address, shape) in places.items():
            binding.bind_input(name, "cpu", 0, self.inputs[name].elem_type, shape, address)
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        self.session.run_with_iobinding(binding)
        return dict(zip(self.outputs, binding.get_outputs(), strict=True))

    def _output_shapes(self, shapes: Shapes) -> dict[str, Shape]:
        """For inputs of these shapes; -1 is for what their values decide."""
        found = {each.name: _tensor(each).shape for each in self._inferred(dict(shapes)).graph.output}
        if any(-1 in shape for shape in found.values()) and not self.is_data_dependent:
            found = {name: tuple(value.shape()) for name, value in self._computed(shapes, np.zeros).items()}
        return found

    def _computed(self, shapes: Shapes, make: Any) -> dict[str, ort.OrtValue]:
        arrays = {name: make(self.inputs[name].nbytes(shape), np.uint8) for name, shape in shapes}
        for name, array in arrays.items():
            if make is np.ones:
                _fill_with_ones(array, self.inputs[name].elem_type)
        return self.run({name: (arrays[name].ctypes.data, shape) for name, shape in shapes})

    def _inferred(self, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
        """The model with shapes inferred from those of the inputs alone."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for each in model.graph.input:
            for dim, size in zip(each.type.tensor_type.shape.dim, shapes.get(each.name, ()), strict=False):
                dim.dim_value = size
        for each in model.graph.output:
            each.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for each, declared in zip(inferred.graph.output, self.model.graph.output, strict=True):
            if not each.type.tensor_type.HasField("shape"):
                each.type.tensor_type.shape.CopyFrom(declared.type.tensor_type.shape)
        return inferred


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    return Tensor(value.name, kind.elem_type, shape)


def _fill_with_ones(array: np.ndarray[Any, Any], elem_type: int) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    array.view(dtype)[:] = np.ones((), dtype)

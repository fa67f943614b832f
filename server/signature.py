"""What a model takes and gives, prepared for checking requests against.

The rules, their order and their texts are those of Triton's core, which clients know.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from yais.engines import Array, Engine, Shape, TensorSpec
from yais.proto.tensors import DATATYPES, DTYPES, strings_array, unpack_strings
from yais.server.errors import InvalidRequestError

_BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


class WireTensor(NamedTuple):
    """An input as it came: `raw` are little-endian elements in row-major order."""

    name: str
    datatype: str
    shape: Shape
    raw: bytes


class TensorRule(NamedTuple):
    """A tensor of the model as requests see it: `shape` with -1 for the batch dimension and whatever else varies."""

    name: str
    datatype: str
    dtype: np.dtype[Any]
    shape: Shape


class Signature:
    """The inputs and outputs of `model`."""

    def __init__(self, model: str, engine: Engine) -> None:
        self.model = model
        self.max_batch_size = engine.max_batch_size
        self.inputs = tuple(self._rule(spec) for spec in engine.inputs)
        self.outputs = tuple(self._rule(spec) for spec in engine.outputs)
        self._input_names = {rule.name for rule in self.inputs}
        self._output_names = frozenset(rule.name for rule in self.outputs)

    def check_outputs(self, names: Sequence[str]) -> Collection[str]:
        """The outputs that are asked for: `names`, or all of them when there are none."""
        for name in names:
            if name not in self._output_names:
                raise InvalidRequestError(f"unexpected inference output '{name}' for model '{self.model}'")
        return frozenset(names) or self._output_names

    def check_inputs(self, tensors: Mapping[str, WireTensor], request_id: str) -> tuple[dict[str, Array], int]:
        """The inputs as arrays of `(rows, *shape)`, in the model's order, and the number of rows."""
        try:
            self._check_names(tensors)
            rows = self._check_batch(tensors)
            return {rule.name: self._array(rule, tensors[rule.name]) for rule in self.inputs}, rows
        except _ViolationError as violation:
            prefix = f"[request id: {request_id or '<id_unknown>'}] "
            raise InvalidRequestError(f"{prefix}{violation}") from violation

    def _rule(self, spec: TensorSpec) -> TensorRule:
        shape = (-1, *spec.shape) if self.max_batch_size else spec.shape
        return TensorRule(spec.name, DATATYPES[spec.dtype], spec.dtype, shape)

    def _check_names(self, tensors: Mapping[str, WireTensor]) -> None:
        if len(tensors) != len(self.inputs):
            missing = [rule.name for rule in self.inputs if rule.name not in tensors]
            raise _ViolationError(
                f"expected {len(self.inputs)} inputs but got {len(tensors)} inputs for model '{self.model}'. "
                f"Got input(s) {_names(tensors)}, but missing required input(s) {_names(missing)}. "
                "Please provide all required input(s)."
            )
        for name in tensors:
            if name not in self._input_names:
                raise InvalidRequestError(f"unexpected inference input '{name}' for model '{self.model}'")

    def _check_batch(self, tensors: Mapping[str, WireTensor]) -> int:
        if not self.max_batch_size:
            return 1
        rows = -1
        for tensor in tensors.values():
            if not tensor.shape:
                raise _ViolationError(
                    f"input '{tensor.name}' has no shape but model requires batch dimension for '{self.model}'"
                )
            if rows not in (-1, tensor.shape[0]):
                raise _ViolationError(
                    f"input '{tensor.name}' batch size does not match other inputs for '{self.model}'"
                )
            rows = tensor.shape[0]
        if rows > self.max_batch_size:
            raise _ViolationError(f"inference request batch-size must be <= {self.max_batch_size} for '{self.model}'")
        return rows

    def _array(self, rule: TensorRule, tensor: WireTensor) -> Array:
        if tensor.datatype != rule.datatype:
            got = tensor.datatype if tensor.datatype in DTYPES else "<invalid>"
            raise _ViolationError(
                f"inference input '{rule.name}' data-type is '{got}', "
                f"but model '{self.model}' expects '{rule.datatype}'"
            )
        if tensor.shape != rule.shape or -1 in rule.shape:
            self._check_shape(rule, tensor.shape)
        shape = tensor.shape if self.max_batch_size else (1, *tensor.shape)
        if rule.datatype == "BYTES":
            return self._strings(tensor, shape)
        expected = prod(shape) * rule.dtype.itemsize
        if len(tensor.raw) != expected:
            raise _ViolationError(
                f"input byte size mismatch for input '{rule.name}' for model '{self.model}'. "
                f"Expected {expected}, got {len(tensor.raw)}"
            )
        return np.frombuffer(tensor.raw, rule.dtype).reshape(shape)

    def _check_shape(self, rule: TensorRule, shape: Shape) -> None:
        tensor = f"input '{rule.name}' for model '{self.model}'"
        if any(dim < 0 for dim in shape):
            raise _ViolationError(f"All input dimensions should be specified for {tensor}, got {_dims(shape)}")
        if len(shape) != len(rule.shape) or any(
            want not in (-1, got) for want, got in zip(rule.shape, shape, strict=True)
        ):
            note = _BATCH_NOTE if self.max_batch_size else ""
            raise _ViolationError(
                f"unexpected shape for {tensor}. Expected {_dims(rule.shape)}, got {_dims(shape)}. {note}"
            )

    def _strings(self, tensor: WireTensor, shape: Shape) -> Array:
        of = f"for inference input '{tensor.name}' for model '{self.model}'"
        try:
            elements = unpack_strings(tensor.raw)
        except ValueError as error:
            raise _ViolationError(f"{error} {of}") from error
        expected = prod(shape)
        if len(elements) < expected:
            raise _ViolationError(f"expected {expected} string elements {of}, got {len(elements)}")
        if len(elements) > expected:
            raise _ViolationError(f"unexpected number of string elements {len(elements)} {of}, expecting {expected}")
        return strings_array(elements, shape)


class _ViolationError(Exception):
    """A broken rule whose text Triton puts behind the request's id."""


def _dims(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def _names(names: Iterable[str]) -> str:
    return f"[{','.join(repr(name) for name in names)}]"

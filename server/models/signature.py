"""Signature of a model: its inputs and outputs, prepared for checking requests against.

The rules, their order and their texts are those of Triton's core, which clients know.
"""

from collections.abc import Collection, Sequence
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

_MAX_DIM = 2**31 - 1
# numpy takes the product of all dimensions but 0 times the size of an element (16 at most) for the size of an array.
_MAX_ELEMENTS = (2**63 - 1) // 16

# What a request says of one input: its name, datatype and shape.
Header = tuple[str, str, Shape]


class TensorRule(NamedTuple):
    """A tensor of the model as requests see it: `shape` with -1 for the batch dimension and whatever else varies."""

    name: str
    datatype: str
    dtype: np.dtype[Any]
    shape: Shape


class InputLayout(NamedTuple):
    """One input of a request that keeps the rules: `(rows, *shape)` in `nbytes` bytes, its data at `position`."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    nbytes: int
    position: int


class RequestLayout(NamedTuple):
    """All inputs of a request that keeps the rules, in the model's order; `shapes` are theirs without the rows."""

    rows: int
    shapes: tuple[Shape, ...]
    inputs: tuple[InputLayout, ...]


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
        return frozenset(names) if names else self._output_names

    def lay_out(self, headers: Sequence[Header], request_id: str) -> RequestLayout:
        """What the inputs of a request are, if they keep the rules."""
        try:
            self._check_names([name for name, _, _ in headers])
            rows = self._check_batch(headers)
            positions = {name: position for position, (name, _, _) in enumerate(headers)}
            inputs = tuple(self._lay_out_input(rule, headers, positions[rule.name]) for rule in self.inputs)
        except _ViolationError as violation:
            raise _invalid_request(violation, request_id) from violation
        return RequestLayout(rows, tuple(tensor.shape[1:] for tensor in inputs), inputs)

    def arrays(self, layout: RequestLayout, raws: Sequence[bytes], request_id: str) -> dict[str, Array]:
        """The inputs by name, in the model's order; `raws` holds the elements of each header, little-endian."""
        try:
            return {tensor.name: self._array(tensor, raws[tensor.position]) for tensor in layout.inputs}
        except _ViolationError as violation:
            raise _invalid_request(violation, request_id) from violation

    def _rule(self, spec: TensorSpec) -> TensorRule:
        shape = (-1, *spec.shape) if self.max_batch_size else spec.shape
        return TensorRule(spec.name, DATATYPES[spec.dtype], spec.dtype, shape)

    def _check_names(self, names: Sequence[str]) -> None:
        repeated = [name for position, name in enumerate(names) if name in names[:position]]
        if repeated:
            raise _ViolationError(f"input '{repeated[0]}' already exists in request")
        if len(names) != len(self.inputs):
            missing = [rule.name for rule in self.inputs if rule.name not in names]
            raise _ViolationError(
                f"expected {len(self.inputs)} inputs but got {len(names)} inputs for model '{self.model}'. "
                f"Got input(s) {_quoted(names)}, but missing required input(s) {_quoted(missing)}. "
                "Please provide all required input(s)."
            )
        for name in names:
            if name not in self._input_names:
                raise InvalidRequestError(f"unexpected inference input '{name}' for model '{self.model}'")

    def _check_batch(self, headers: Sequence[Header]) -> int:
        if not self.max_batch_size:
            # The whole request is the one row of a batch.
            return 1
        rows = None
        for name, _, shape in headers:
            if not shape:
                raise _ViolationError(
                    f"input '{name}' has no shape but model requires batch dimension for '{self.model}'"
                )
            if rows not in (None, shape[0]):
                raise _ViolationError(f"input '{name}' batch size does not match other inputs for '{self.model}'")
            rows = shape[0]
        assert rows is not None, "the names have been checked, and every model has an input"
        if rows > self.max_batch_size:
            raise _ViolationError(f"inference request batch-size must be <= {self.max_batch_size} for '{self.model}'")
        return rows

    def _lay_out_input(self, rule: TensorRule, headers: Sequence[Header], position: int) -> InputLayout:
        _, datatype, shape = headers[position]
        if datatype != rule.datatype:
            got = datatype if datatype in DTYPES else "<invalid>"
            raise _ViolationError(
                f"inference input '{rule.name}' data-type is '{got}', "
                f"but model '{self.model}' expects '{rule.datatype}'"
            )
        self._check_shape(rule, shape)
        full = shape if self.max_batch_size else (1, *shape)
        return InputLayout(rule.name, rule.dtype, full, prod(shape) * rule.dtype.itemsize, position)

    def _check_shape(self, rule: TensorRule, shape: Shape) -> None:
        tensor = f"input '{rule.name}' for model '{self.model}'"
        if any(dim < 0 for dim in shape):
            raise _ViolationError(f"All input dimensions should be specified for {tensor}, got {_dims(shape)}")
        if any(dim > _MAX_DIM for dim in shape):
            raise _ViolationError(f"dimensions must be <= {_MAX_DIM} for {tensor}, got {_dims(shape)}")
        if 0 in shape and max(1, self.max_batch_size) * prod(max(1, dim) for dim in shape) > _MAX_ELEMENTS:
            raise _ViolationError(f"shape of {tensor} is beyond any array, got {_dims(shape)}")
        if len(shape) != len(rule.shape) or any(
            want not in (-1, got) for want, got in zip(rule.shape, shape, strict=True)
        ):
            note = _BATCH_NOTE if self.max_batch_size else ""
            raise _ViolationError(
                f"unexpected shape for {tensor}. Expected {_dims(rule.shape)}, got {_dims(shape)}. {note}"
            )

    def _array(self, layout: InputLayout, raw: bytes) -> Array:
        if layout.dtype.hasobject:
            return self._strings(layout, raw)
        if len(raw) != layout.nbytes:
            raise _ViolationError(
                f"input byte size mismatch for input '{layout.name}' for model '{self.model}'. "
                f"Expected {layout.nbytes}, got {len(raw)}"
            )
        # A view of the message's bytes, which are copied once: into the batch buffer.
        return np.ndarray(layout.shape, layout.dtype, raw)

    def _strings(self, layout: InputLayout, raw: bytes) -> Array:
        of = f"for inference input '{layout.name}' for model '{self.model}'"
        try:
            elements = unpack_strings(raw)
        except ValueError as error:
            raise _ViolationError(f"{error} {of}") from error
        expected = prod(layout.shape)
        if len(elements) < expected:
            raise _ViolationError(f"expected {expected} string elements {of}, got {len(elements)}")
        if len(elements) > expected:
            raise _ViolationError(f"unexpected number of string elements {len(elements)} {of}, expecting {expected}")
        return strings_array(elements, layout.shape)


class _ViolationError(Exception):
    """A broken rule whose text Triton puts behind the request's id."""


def _invalid_request(violation: _ViolationError, request_id: str) -> InvalidRequestError:
    return InvalidRequestError(f"[request id: {request_id or '<id_unknown>'}] {violation}")


def _dims(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def _quoted(names: Sequence[str]) -> str:
    return f"[{','.join(repr(name) for name in names)}]"

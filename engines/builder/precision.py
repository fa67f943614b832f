"""Precision of a model: its rewrite from FP32 to FP16 or BF16.

TensorRT's networks are strongly typed: each layer computes in the types that the model says. So a precision is a
rewrite of the model. FP32 tensors turn to a 16-bit type wherever the operators' schemas in ONNX allow it. What has no
such type stays FP32, and so does what is computed from shapes alone, where a float of 16 bits would miss the integers.
The inputs and outputs of the model, and those of the bodies of loops and branches, keep their types.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    defs,
    helper,
    inliner,
    numpy_helper,
    shape_inference,
    version_converter,
)

from yais.engines.builder.model import DOMAINS, bodies_of, has_quantization, nodes_of, opset_of
from yais.engines.builder.options import Precision
from yais.engines.zoo import BuildError

logger = logging.getLogger("yais.engines.builder")

_FP32 = int(TensorProto.FLOAT)


@dataclass(frozen=True, slots=True)
class ReducedPrecision:
    """A floating-point type of 16 bits; `number` is its TensorProto.DataType, `type_name` what schemas call it."""

    title: str
    number: int
    dtype: np.dtype[Any]

    @property
    def type_name(self) -> str:
        return f"tensor({self.dtype.name})"

    def tensor(self, weight: TensorProto, name: str) -> TensorProto:
        """The FP32 `weight` in this type.

        What is too large for it becomes its largest value, which is logged, and no value becomes 0 that was not: a
        small one may be what keeps a divisor from 0.
        """
        values = numpy_helper.to_array(weight)
        limits: Any = ml_dtypes.finfo(self.dtype)  # type: ignore[no-untyped-call]
        largest, smallest = np.float32(limits.max), np.float32(limits.smallest_subnormal)
        sizes = np.abs(values)
        # Infinities and NaN are in both types, and stay.
        too_large = np.isfinite(values) & (sizes > largest)
        if too_large.any():
            extreme = values[too_large][np.argmax(sizes[too_large])]
            logger.warning(
                "Weight '%s': %d of %d values are beyond %s's %g, up to %g, and become that",
                *(weight.name, np.count_nonzero(too_large), values.size, self.title, largest, extreme),
            )
        fitted = np.where(too_large, np.copysign(largest, values), values)
        fitted = np.where((sizes > 0) & (sizes < smallest), np.copysign(smallest, values), fitted)
        return helper.make_tensor(name, self.number, values.shape, fitted.astype(self.dtype).tobytes(), raw=True)


FP16 = ReducedPrecision("FP16", TensorProto.FLOAT16, np.dtype(np.float16))
BF16 = ReducedPrecision("BF16", TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16))

_REDUCED: dict[Precision, ReducedPrecision] = {"fp16": FP16, "bf16": BF16}
# The first opsets whose Q/DQ have scales of a 16-bit type, and whose convolutions take BF16.
_QUANTIZED_OPSET, _BF16_OPSET = 19, 22


def lift_constants(graph: GraphProto) -> None:
    """Turns the nodes that hold FP32 constants into initializers."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        constant = _constant(node)
        if constant is None:
            graph.node.append(node)
        else:
            graph.initializer.append(constant)


def _constant(node: NodeProto) -> TensorProto | None:
    if node.op_type != "Constant":
        return None
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name in ("value_float", "value_floats"):
        return numpy_helper.from_array(np.array(value, np.float32), node.output[0])
    if attribute.name != "value" or value.data_type != TensorProto.FLOAT:
        return None
    tensor = TensorProto()
    tensor.CopyFrom(value)
    tensor.name = node.output[0]
    return tensor


class Scope:
    """A graph while it is rewritten: in which types there is each of its FP32 tensors.

    In FP32 a tensor has its own name. In the 16-bit type it has another, and a cast makes either from the other when it
    is first wanted. The body of a loop or a branch sees the tensors of the graphs around it. `names` are those in use.
    """

    def __init__(
        self, graph: GraphProto, reduced: ReducedPrecision, opset: int, names: set[str], outer: "Scope | None" = None
    ) -> None:
        lift_constants(graph)
        self.graph, self.reduced, self.opset, self.names, self.outer = graph, reduced, opset, names, outer
        inputs = {value.name for value in graph.input}
        self._weights = {weight.name: weight for weight in graph.initializer if weight.name not in inputs}
        self._converted: list[TensorProto] = []
        # What inference of shapes has found, by TensorProto.DataType; 0 for what it has not.
        self._types = _types(graph)
        self._made = {(name, _FP32): name for name in (*inputs, *self._weights)}
        self._wanted: set[str] = set()
        # Tensors computed from constants alone, and whether a shape is among what they come from.
        self._derived = dict.fromkeys(self._weights, False)

    def rewrite(self) -> None:
        # ONNX lists nodes in an order in which each comes after what it reads, which casts put in between keep.
        nodes = list(self.graph.node)
        del self.graph.node[:]
        for node in nodes:
            self._add(node)
        for value in self.graph.output:
            if self._is_float(value.name):
                self._want(value.name, _FP32)
        kept = [
            weight
            for weight in self.graph.initializer
            if weight.name not in self._weights or weight.data_type != _FP32 or weight.name in self._wanted
        ]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept + self._converted)
        # What they say of types is no longer so.
        del self.graph.value_info[:]

    def _add(self, node: NodeProto) -> None:
        bodies = bodies_of(node)
        for body in bodies:
            Scope(body, self.reduced, self.opset, self.names, self).rewrite()
        # Of what is no operator of ONNX's own, nothing is known about the types that it takes.
        is_known = not bodies and node.domain in DOMAINS and defs.has(node.op_type, self.opset, "")
        schema = defs.get_schema(node.op_type, self.opset, "") if is_known else None
        reduced = self._reduced_variables(node, schema) if schema else set()
        # Whether the outputs are computed from constants and shapes alone.
        if node.op_type in ("Shape", "Size"):
            self._derived |= dict.fromkeys(node.output, True)
        elif all(self._origin(name) is not None for name in node.input if name) and not bodies:
            self._derived |= dict.fromkeys(node.output, self._is_from_shapes(node))
        for index, variable in _variables(schema.inputs if schema else [], node.input):
            name = node.input[index]
            if self._is_float(name):
                node.input[index] = self._want(name, self.reduced.number if variable in reduced else _FP32)
        for index, variable in _variables(schema.outputs if schema else [], node.output):
            name, kind = node.output[index], self.reduced.number if variable in reduced else _FP32
            node.output[index] = self._made[name, kind] = name if kind == _FP32 else self._fresh(name, kind)
        self.graph.node.append(node)

    def _reduced_variables(self, node: NodeProto, schema: Any) -> set[str]:
        """The type variables of the operator, as `T`, which stand for FP32 and shall stand for the 16-bit type."""
        if self._is_from_shapes(node) or not all(self._type(name) for name in node.output if name):
            return set()
        names: dict[str, list[str]] = {}
        for index, variable in _variables(schema.inputs, node.input):
            names.setdefault(variable, []).append(node.input[index])
        able = {
            constraint.type_param_str
            for constraint in schema.type_constraints
            if self.reduced.type_name in constraint.allowed_type_strs
        }
        floats = {variable for variable in able & names.keys() if all(map(self._is_float, names[variable]))}
        made = {variable for _, variable in _variables(schema.outputs, node.output)}
        # An operator that makes no tensor of such a type takes what there is.
        is_worth_it = made & floats or any(self._find(names[variable][0], self.reduced.number) for variable in floats)
        return floats if is_worth_it else set()

    def _is_from_shapes(self, node: NodeProto) -> bool:
        origins = [self._origin(name) for name in node.input if name]
        return True in origins and None not in origins

    def _want(self, name: str, kind: int) -> str:
        """What the tensor is called in the type `kind`, in which it is made unless it is already there."""
        found = self._find(name, kind)
        if found is not None:
            return found
        reduced = self.reduced.number
        owner = self._owner(name)
        if owner is not None:
            made = owner._made[name, reduced] = owner._fresh(name, reduced)
            owner._converted.append(self.reduced.tensor(owner._weights[name], made))
            return made
        # A body has a name of its own for what it casts from outside, where it may be cast as well.
        is_own = kind == _FP32 and (name, reduced) in self._made
        made = name if is_own else self._fresh(name, kind)
        source = self._find(name, reduced if kind == _FP32 else _FP32)
        assert source is not None
        self.graph.node.append(helper.make_node("Cast", [source], [made], name=f"cast_to_{made}", to=kind))
        self._made[name, kind] = made
        return made

    def _find(self, name: str, kind: int) -> str | None:
        found = self._made.get((name, kind))
        if found is None:
            return self.outer._find(name, kind) if self.outer else None
        self._wanted.add(found)
        return found

    def _owner(self, name: str) -> "Scope | None":
        """The scope in which `name` is a weight."""
        return self if name in self._weights else self.outer and self.outer._owner(name)

    def _fresh(self, name: str, kind: int) -> str:
        made = f"{name}_{'fp32' if kind == _FP32 else self.reduced.title.lower()}"
        while made in self.names:
            made += "_"
        self.names.add(made)
        return made

    def _type(self, name: str) -> int:
        return self._types.get(name) or (self.outer._type(name) if self.outer else 0)

    def _is_float(self, name: str) -> bool:
        return self._type(name) == _FP32

    def _origin(self, name: str) -> bool | None:
        """Whether a shape is among what the constant `name` is computed from; None for what is no constant."""
        origin = self._derived.get(name)
        return self.outer._origin(name) if origin is None and self.outer else origin


def _types(graph: GraphProto) -> dict[str, int]:
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: kind for value in values if (kind := int(value.type.tensor_type.elem_type))}
    return types | {weight.name: weight.data_type for weight in graph.initializer}


def _variables(formals: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The index and the type, as the variable `T` or as `tensor(float)`, of each tensor that a node has."""
    for index, name in enumerate(names):
        if name:
            # The last formal of a variadic operator stands for all that follow.
            yield index, formals[min(index, len(formals) - 1)].type_str if formals else ""


def convert(model: ModelProto, precision: Precision) -> ModelProto:
    """A copy of `model` in which layers compute in `precision`, as far as they can.

    Q/DQ stay, and their scales follow: a quantised model in FP16 is one whose other layers are. In INT8 it is as it is,
    and a model that is not quantised is refused. Raises `BuildError`.
    """
    made = ModelProto()
    made.CopyFrom(model)
    if precision == "int8" and not has_quantization(model):
        raise BuildError("precision int8: the model has no QuantizeLinear or DequantizeLinear; calibrate it")
    reduced = _REDUCED.get(precision)
    if reduced is None:
        return made
    try:
        if made.functions:
            # A function has one body for all its calls, whose types may differ.
            made.CopyFrom(inliner.inline_local_functions(made))
        least = _BF16_OPSET if reduced is BF16 else _QUANTIZED_OPSET if has_quantization(made) else 1
        if opset_of(made) < least:
            # All else that the model says stays as it is.
            raised = version_converter.convert_version(made, least)
            made.graph.CopyFrom(raised.graph)
            del made.opset_import[:]
            made.opset_import.extend(raised.opset_import)
        made.graph.CopyFrom(shape_inference.infer_shapes(made).graph)
        names = {name for node in nodes_of(made) for name in (*node.input, *node.output)}
        names |= {value.name for value in made.graph.input} | {weight.name for weight in made.graph.initializer}
        Scope(made.graph, reduced, opset_of(made), names).rewrite()
    except (RuntimeError, ValueError, shape_inference.InferenceError) as error:
        raise BuildError(f"the model cannot be rewritten to {reduced.title}: {error}") from error
    return made

"""The rewrite of a graph from FP32 to a half type."""

from collections.abc import Iterator, Sequence
from typing import Any

from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, defs, helper

from yais.engines.builder.halves import Half, lift_constants

DOMAINS = ("", "ai.onnx")
_FP32 = int(TensorProto.FLOAT)


def bodies_of(node: NodeProto) -> list[GraphProto]:
    """The graphs of a loop or a branch."""
    return [graph for attribute in node.attribute for graph in (*attribute.graphs, attribute.g) if graph.output]


class Scope:
    """A graph while it is rewritten: in which types there is each of its FP32 tensors.

    In FP32 a tensor has its own name. In the half type it has another, and a cast makes either from the other when it
    is first wanted. The body of a loop or a branch sees the tensors of the graphs around it. `names` are those in use.
    """

    def __init__(
        self, graph: GraphProto, half: Half, opset: int, names: set[str], outer: "Scope | None" = None
    ) -> None:
        lift_constants(graph)
        self.graph, self.half, self.opset, self.names, self.outer = graph, half, opset, names, outer
        inputs = {value.name for value in graph.input}
        self._weights = {weight.name: weight for weight in graph.initializer if weight.name not in inputs}
        self._halves: list[TensorProto] = []
        self._types = _types(graph)
        self._made = {(name, _FP32): name for name in (*inputs, *self._weights)}
        self._wanted: set[str] = set()
        # Tensors computed from constants alone, and whether a shape is among what they come from.
        self._derived = dict.fromkeys(self._weights, False)

    def rewrite(self) -> None:
        nodes = list(self.graph.node)
        del self.graph.node[:]
        for node in nodes:
            self._add(node)
        for value in self.graph.output:
            if self._is_float(value.name):
                self._want(value.name, _FP32)
        kept = [weight for weight in self.graph.initializer if self._is_kept(weight)]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept + self._halves)
        # What they say of types is no longer so.
        del self.graph.value_info[:]

    def _is_kept(self, weight: TensorProto) -> bool:
        return weight.name not in self._weights or weight.data_type != _FP32 or weight.name in self._wanted

    def _add(self, node: NodeProto) -> None:
        bodies = bodies_of(node)
        for body in bodies:
            Scope(body, self.half, self.opset, self.names, self).rewrite()
        schema = None if bodies else self._schema(node)
        halved = self._halved_variables(node, schema) if schema else set()
        self._derive(node)
        for index, variable in _variables(schema.inputs if schema else [], node.input):
            name = node.input[index]
            if self._is_float(name):
                node.input[index] = self._want(name, self.half.number if variable in halved else _FP32)
        for index, variable in _variables(schema.outputs if schema else [], node.output):
            name, kind = node.output[index], self.half.number if variable in halved else _FP32
            node.output[index] = self._made[name, kind] = name if kind == _FP32 else self._fresh(name, kind)
        self.graph.node.append(node)

    def _schema(self, node: NodeProto) -> Any:
        """None for what is no operator of ONNX's own: nothing is known of the types that it takes."""
        known = node.domain in DOMAINS and defs.has(node.op_type, self.opset, "")
        return defs.get_schema(node.op_type, self.opset, "") if known else None

    def _halved_variables(self, node: NodeProto, schema: Any) -> set[str]:
        """The type variables of the operator, as `T`, which stand for FP32 and shall stand for the half type."""
        if self._is_from_shapes(node) or not all(self._type(name) for name in node.output if name):
            return set()
        names: dict[str, list[str]] = {}
        for index, variable in _variables(schema.inputs, node.input):
            names.setdefault(variable, []).append(node.input[index])
        able = {
            constraint.type_param_str
            for constraint in schema.type_constraints
            if self.half.type_name in constraint.allowed_type_strs
        }
        floats = {variable for variable in able & names.keys() if all(map(self._is_float, names[variable]))}
        made = {variable for _, variable in _variables(schema.outputs, node.output)}
        # An operator that makes no tensor of such a type takes what there is.
        is_worth_it = made & floats or any(self._find(names[each][0], self.half.number) for each in floats)
        return floats if is_worth_it else set()

    def _is_from_shapes(self, node: NodeProto) -> bool:
        origins = [self._origin(name) for name in node.input if name]
        return True in origins and None not in origins

    def _derive(self, node: NodeProto) -> None:
        """Notes of the outputs whether they are computed from constants and shapes alone."""
        if node.op_type in ("Shape", "Size"):
            self._derived |= dict.fromkeys(node.output, True)
        elif all(self._origin(name) is not None for name in node.input if name) and not bodies_of(node):
            self._derived |= dict.fromkeys(node.output, self._is_from_shapes(node))

    def _want(self, name: str, kind: int) -> str:
        """What the tensor is called in the type `kind`, in which it is made unless it is already there."""
        found = self._find(name, kind)
        if found is None:
            owner = self._owner(name)
            found = owner._convert_weight(name) if owner else self._cast(name, kind)
        return found

    def _find(self, name: str, kind: int) -> str | None:
        found = self._made.get((name, kind))
        if found is None:
            return self.outer._find(name, kind) if self.outer else None
        self._wanted.add(found)
        return found

    def _owner(self, name: str) -> "Scope | None":
        """The scope in which `name` is a weight."""
        return self if name in self._weights else self.outer and self.outer._owner(name)

    def _convert_weight(self, name: str) -> str:
        made = self._made[name, self.half.number] = self._fresh(name, self.half.number)
        self._halves.append(self.half.tensor(self._weights[name], made))
        return made

    def _cast(self, name: str, kind: int) -> str:
        # A body has a name of its own for what it casts from outside, where it may be cast as well.
        is_own = kind == _FP32 and (name, self.half.number) in self._made
        made = name if is_own else self._fresh(name, kind)
        source = self._find(name, self.half.number if kind == _FP32 else _FP32)
        assert source is not None
        self.graph.node.append(helper.make_node("Cast", [source], [made], name=f"cast_to_{made}", to=kind))
        self._made[name, kind] = made
        return made

    def _fresh(self, name: str, kind: int) -> str:
        made = f"{name}_{'fp32' if kind == _FP32 else self.half.title.lower()}"
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
    types = {value.name: kind for value in values if (kind := _type_of(value))}
    return types | {weight.name: weight.data_type for weight in graph.initializer}


def _type_of(value: ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)


def _variables(formals: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The index and the type, as the variable `T` or as `tensor(float)`, of each tensor that a node has."""
    for index, name in enumerate(names):
        if name:
            yield index, formals[min(index, len(formals) - 1)].type_str if formals else ""

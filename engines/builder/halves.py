"""Weights in a half type."""

import logging
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

logger = logging.getLogger("yais.engines.builder")


@dataclass(frozen=True, slots=True)
class Half:
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
        made = self._fitted(values, weight.name).astype(self.dtype)
        return helper.make_tensor(name, self.number, values.shape, made.tobytes(), raw=True)

    def _fitted(self, values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        limits: Any = ml_dtypes.finfo(self.dtype)  # type: ignore[no-untyped-call]
        largest, smallest = np.float32(limits.max), np.float32(limits.smallest_subnormal)
        sizes = np.abs(values)
        too_large = np.isfinite(values) & (sizes > largest)
        if too_large.any():
            extreme = values[too_large][np.argmax(sizes[too_large])]
            logger.warning(
                "Weight '%s': %d of %d values are beyond %s's %g, up to %g, and become that",
                *(name, np.count_nonzero(too_large), values.size, self.title, largest, extreme),
            )
        fitted = np.where(too_large, np.copysign(largest, values), values)
        return np.where((sizes > 0) & (sizes < smallest), np.copysign(smallest, values), fitted)


FP16 = Half("FP16", TensorProto.FLOAT16, np.dtype(np.float16))
BF16 = Half("BF16", TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16))


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

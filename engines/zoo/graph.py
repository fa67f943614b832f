"""Writer of ONNX graphs: each method adds a node and returns the name of the tensor it makes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from yais.engines.base import MAX_BATCH_SIZE_KEY

OPSET = 17
IR_VERSION = 8  # That of opset 17: ONNX Runtime 1.12 and TensorRT 8.5 onwards read it.


class GraphWriter:
    """A graph of one input and one output, as far as it is written; weights are stored as float32."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Any operator of one output, which is called `output` or numbered."""
        name = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=f"node_{name}", **attributes))
        return name

    def weight(self, array: NDArray[Any]) -> str:
        name = f"weight_{len(self._weights)}"
        # ONNX stores elements in C order, which a transposed array is not in.
        self._weights.append(numpy_helper.from_array(np.array(array, np.float32, order="C"), name))
        return name

    def conv(
        self,
        x: str,
        kernel: NDArray[Any],
        bias: NDArray[Any],
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        groups: int = 1,
    ) -> str:
        """A square convolution; `kernel` is (out, in / groups, k, k), `pads` what is added before and after."""
        # ONNX wants what is added before each axis, and then what is added after each.
        before, after = pads
        return self.add(
            "Conv",
            x,
            self.weight(kernel),
            self.weight(bias),
            kernel_shape=kernel.shape[2:],
            strides=(stride, stride),
            pads=(before, before, after, after),
            group=groups,
        )

    def relu(self, x: str) -> str:
        return self.add("Relu", x)

    def dense(self, x: str, kernel: NDArray[Any], bias: NDArray[Any], output: str | None = None) -> str:
        """`x` (N, in) times the transpose of `kernel` (out, in), plus `bias`."""
        return self.add("Gemm", x, self.weight(kernel), self.weight(bias), output=output, transB=1)

    def classify(self, x: str, kernel: NDArray[Any], bias: NDArray[Any], output: str) -> str:
        """The head of an image classifier: the mean over the pixels of `x` (N, in, h, w), and logits from it."""
        return self.dense(self.add("Flatten", self.add("GlobalAveragePool", x)), kernel, bias, output)

    def model(self, source: ValueInfoProto, result: ValueInfoProto, max_batch_size: int) -> ModelProto:
        """The finished model, from tensor `source` to tensor `result`."""
        graph = helper.make_graph(self._nodes, self.name, [source], [result], self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="yais", ir_version=IR_VERSION, opset_imports=opsets)
        helper.set_model_props(model, {MAX_BATCH_SIZE_KEY: str(max_batch_size)})
        return model


def tensor(name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> ValueInfoProto:
    """An input or output; a string in `shape` names a dimension of any size."""
    return helper.make_tensor_value_info(name, dtype, shape)

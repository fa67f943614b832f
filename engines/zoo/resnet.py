"""ResNet-50 v1.5 (the stride of a block is in its 3x3 convolution) with seeded weights, for measurements.

The batch normalisations of the original are taken as folded into the convolutions. The weights are drawn as He and
others (2015) propose, which keeps the activations' size through convolution and ReLU; the last convolution of each
block is damped, for the sum with the shortcut would otherwise double the variance sixteen times over.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from yais.engines.zoo.graph import GraphWriter, tensor

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # Channels inside a block, and blocks.
EXPANSION = 4
DAMPING = 0.25
CLASSES = 1000


class _ResNetLayers:
    """Writes convolutions with fresh weights into a graph."""

    def __init__(self, seed: int) -> None:
        self.graph = GraphWriter("resnet50")
        self._rng = np.random.default_rng(seed)

    def draw(self, *shape: int, gain: float) -> NDArray[np.float32]:
        """Weights (out, in, ...) which make the mean square of an output `gain`² times that of the inputs."""
        return self._rng.standard_normal(shape, np.float32) * np.float32(gain / np.prod(shape[1:]) ** 0.5)

    def conv(self, x: str, inputs: int, outputs: int, size: int, *, stride: int = 1, gain: float = 2**0.5) -> str:
        kernel, bias = self.draw(outputs, inputs, size, size, gain=gain), np.zeros(outputs)
        return self.graph.conv(x, kernel, bias, stride=stride, pads=(size // 2, size // 2))

    def block(self, x: str, inputs: int, width: int, stride: int) -> str:
        """A bottleneck: 1x1, 3x3 and 1x1 convolutions beside a shortcut, which is a convolution where sizes change."""
        outputs = width * EXPANSION
        branch = self.graph.relu(self.conv(x, inputs, width, 1))
        branch = self.graph.relu(self.conv(branch, width, width, 3, stride=stride))
        branch = self.conv(branch, width, outputs, 1, gain=DAMPING)
        shortcut = x if inputs == outputs else self.conv(x, inputs, outputs, 1, stride=stride)
        return self.graph.relu(self.graph.add("Add", branch, shortcut))


def build(max_batch_size: int, seed: int = 0) -> ModelProto:
    writer = _ResNetLayers(seed)
    graph, channels = writer.graph, 64
    x = graph.relu(writer.conv("input", 3, channels, 7, stride=2))
    x = graph.add("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    for width, blocks in STAGES:
        for index in range(blocks):
            # Each stage but the first, which follows a pooling, halves the picture in its first block.
            x = writer.block(x, channels, width, stride=2 if index == 0 and width > STAGES[0][0] else 1)
            channels = width * EXPANSION
    graph.classify(x, writer.draw(CLASSES, channels, gain=1), np.zeros(CLASSES), output="logits")
    return graph.model(tensor("input", ["batch", 3, 224, 224]), tensor("logits", ["batch", CLASSES]), max_batch_size)

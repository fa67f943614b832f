"""Perceptron of one hidden layer with seeded weights: so cheap to run that batching is what matters."""

import numpy as np
from onnx import ModelProto

from yais.engines.zoo.graph import GraphWriter, tensor

INPUTS, HIDDEN, OUTPUTS = 64, 256, 10


def build(max_batch_size: int, seed: int = 0) -> ModelProto:
    rng = np.random.default_rng(seed)
    graph = GraphWriter("mlp")
    # He initialisation, which keeps the size of activations through ReLU.
    hidden = rng.standard_normal((HIDDEN, INPUTS)) * (2 / INPUTS) ** 0.5
    x = graph.relu(graph.dense("INPUT0", hidden, rng.standard_normal(HIDDEN) * 0.1))
    graph.dense(x, rng.standard_normal((OUTPUTS, HIDDEN)) * HIDDEN**-0.5, np.zeros(OUTPUTS), output="OUTPUT0")
    return graph.model(tensor("INPUT0", ["batch", INPUTS]), tensor("OUTPUT0", ["batch", OUTPUTS]), max_batch_size)

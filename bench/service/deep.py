"""An engine whose runs cost much more than the transport of its requests, which are small."""

from itertools import pairwise

import numpy as np

from bench.measure import BUILD

WIDTHS = (64, 2048, 2048, 2048, 10)
MAX_BATCH = 64


def build_deep() -> None:
    """A perceptron with 8.5 million weights: the engine `deep`, where it is not built yet."""
    path = BUILD / "deep.onnx"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_model())


def _model() -> bytes:
    from yais.engines.zoo.graph import GraphWriter, tensor  # Needs the package onnx, which nothing else here does.

    rng, graph = np.random.default_rng(0), GraphWriter("deep")
    weights = [rng.standard_normal((to, of)) * (2 / of) ** 0.5 for of, to in pairwise(WIDTHS)]
    x = "INPUT0"
    for matrix in weights[:-1]:
        x = graph.relu(graph.dense(x, matrix, np.zeros(len(matrix))))
    graph.dense(x, weights[-1], np.zeros(WIDTHS[-1]), output="OUTPUT0")
    source, result = tensor("INPUT0", ["batch", WIDTHS[0]]), tensor("OUTPUT0", ["batch", WIDTHS[-1]])
    return graph.model(source, result, MAX_BATCH).SerializeToString()

"""Plans for the simulated GPU, and what the same models give on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from yais.engines import Array
from yais.engines.zoo import mlp

FEATURES = 64


def save_mlp(simulation: Any, path: Path, *spans: tuple[int, int], **about: Any) -> Path:
    """A plan of the zoo's perceptron, with a profile for each of `spans`, the least and the most rows."""
    profiles = [{"INPUT0": ((low, FEATURES), (high, FEATURES), (high, FEATURES))} for low, high in spans or [(1, 8)]]
    path.write_bytes(simulation.make_plan(mlp.build(64), profiles, **about))
    return path


def save_plan(simulation: Any, path: Path, model: Path, **bounds: Sequence[Sequence[int]]) -> Path:
    """A plan of an ONNX file, with one profile: the least, best and largest shape of each input."""
    import onnx

    path.write_bytes(simulation.make_plan(onnx.load(model), [bounds]))
    return path


def rows_of(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, FEATURES)).astype(np.float32)


def on_cpu(rows: Array) -> Array:
    """What the perceptron makes of `rows`."""
    session = ort.InferenceSession(mlp.build(64).SerializeToString(), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"INPUT0": rows})[0]
    return result

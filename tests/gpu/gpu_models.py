"""Models for tests on a GPU, what they are on the CPU, and how close the two have to be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from yais.engines import Array, Context, Engine, EngineOptions, Run, open_engine
from yais.engines.builder.build import ShapeRange
from yais.engines.zoo import BuildError
from yais.engines.zoo.catalogue import CATALOGUE

BATCH = 8
# Of the largest value: products may be computed in TF32, which has the ten bits of mantissa that FP16 has.
TOLERANCE = 1e-2
ZOO = ("mlp", "efficientnet-lite0", "resnet50")


@dataclass(frozen=True)
class Model:
    """An ONNX file, and the bounds of its inputs' free dimensions."""

    path: Path
    bounds: Mapping[str, ShapeRange] = field(default_factory=dict)

    def on_cpu(self, *values: Array) -> list[Array]:
        """The outputs for a batch, or for the only row where there is no batch dimension."""
        engine = open_engine(self.path, EngineOptions(max_batch_size=max(1, len(values[0]))))
        return run(engine, engine.create_context(), values)[1]


def run(engine: Engine, context: Context, values: Sequence[Array]) -> tuple[Run, list[Array]]:
    """What a run took, and copies of its outputs."""
    has_batch = engine.max_batch_size > 0
    rows = len(values[0]) if has_batch else 1
    context.fit([value.shape[1:] if has_batch else value.shape for value in values])
    for spec, value in zip(engine.inputs, values, strict=True):
        context.inputs[spec.name][:rows] = value if has_batch else value[np.newaxis]
    took = context.execute(rows)
    outputs = (context.outputs[spec.name] for spec in engine.outputs)
    return took, [(output[:rows] if has_batch else output[0]).copy() for output in outputs]


def sample(engine: Engine, rows: int, seed: int = 0) -> Array:
    """Random rows for the only input."""
    (spec,) = engine.inputs
    return np.random.default_rng(seed).uniform(-1, 1, (rows, *spec.shape)).astype(spec.dtype)


def assert_close(actual: Array, expected: Array, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1e-6, float(np.abs(expected).max())))


def _of_zoo(name: str) -> Callable[[Path], Model]:
    def make(path: Path) -> Model:
        try:
            path.write_bytes(CATALOGUE[name].build(BATCH, {}))
        except BuildError as error:
            pytest.skip(str(error))
        return Model(path)

    return make


def _sums(path: Path) -> Model:
    """SUM is A + B, of rows of any length."""
    node = helper.make_node("Add", ["A", "B"], ["SUM"])
    _save(path, node, {"A": ["N", "L"], "B": ["N", "L"]}, ("SUM", TensorProto.FLOAT, ["N", "L"]))
    lengths = ShapeRange((1,), (16,), (4096,))
    return Model(path, {"A": lengths, "B": lengths})


def _places(path: Path) -> Model:
    """Y are the positions at which X, of any length, is not 0: a shape that each run decides."""
    node = helper.make_node("NonZero", ["X"], ["Y"])
    _save(path, node, {"X": ["L"]}, ("Y", TensorProto.INT64, [1, "K"]))
    return Model(path, {"X": ShapeRange((1,), (64,), (1 << 20,))})


def _save(
    path: Path,
    node: onnx.NodeProto,
    inputs: Mapping[str, Sequence[int | str]],
    output: tuple[str, int, Sequence[int | str]],
) -> None:
    sources = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    graph = helper.make_graph([node], path.stem, sources, [helper.make_tensor_value_info(*output)])
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)


MAKERS: dict[str, Callable[[Path], Model]] = {name: _of_zoo(name) for name in ZOO} | {"sums": _sums, "places": _places}

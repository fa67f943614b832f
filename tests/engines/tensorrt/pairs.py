"""Pairs of a plan on a simulated GPU and the ONNX file on the CPU that it was made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper

from yais.engines import Array, Context, Engine, Run

ILLEGAL_ADDRESS, OUT_OF_MEMORY = 700, 2
# What takes time or memory, and may happen only until memory is as large as it has to be.
COSTLY = ("alloc", "free", "register", "unregister", "create context", "create stream", "create event", "instantiate")
# The least, best and largest shape of each input.
Profile = dict[str, Sequence[tuple[int, ...]]]
Numbers = partial(np.array, dtype=np.float32)


@dataclass
class Pair:
    """A plan, and the ONNX file that it was made of on the CPU. Arrays have the batch dimension, where there is one."""

    gpu: Engine
    cpu: Engine

    def __post_init__(self) -> None:
        self.contexts = self.gpu.create_context(), self.cpu.create_context()

    def run(self, **arrays: Array) -> Run:
        """Runs both, and sees that they give the same; what the plan's run took."""
        mine, expected = self.contexts
        took = run(self.gpu, mine, arrays)
        run(self.cpu, expected, arrays)
        self.compare(results(self.gpu, mine, arrays), results(self.cpu, expected, arrays))
        return took

    def compare(self, found: dict[str, Array], expected: dict[str, Array]) -> None:
        assert found.keys() == expected.keys() == {spec.name for spec in self.gpu.outputs}
        for spec in self.gpu.outputs:
            assert found[spec.name].dtype == spec.dtype == expected[spec.name].dtype
            np.testing.assert_array_equal(found[spec.name], expected[spec.name])


OpenBoth = Callable[..., Pair]


def run(engine: Engine, context: Context, arrays: dict[str, Array]) -> Run:
    has_batch = bool(engine.max_batch_size)
    rows = rows_of(engine, arrays)
    context.fit(tuple(arrays[spec.name].shape[has_batch:] for spec in engine.inputs))
    for name, array in arrays.items():
        context.inputs[name][:rows] = array if has_batch else array[None]
    return context.execute(rows)


def results(engine: Engine, context: Context, arrays: dict[str, Array]) -> dict[str, Array]:
    rows = rows_of(engine, arrays)
    return {name: array[:rows] if engine.max_batch_size else array[0] for name, array in context.outputs.items()}


def rows_of(engine: Engine, arrays: dict[str, Array]) -> int:
    return len(next(iter(arrays.values()))) if engine.max_batch_size else 1


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def calls_of(simulation: Any, work: Callable[[], object], *names: str) -> list[tuple[Any, ...]]:
    """Which of these the GPU is asked for meanwhile."""
    simulation.machine().calls.clear()
    work()
    return list(simulation.machine().named(*names))


def node(kind: str, inputs: Sequence[str], output: str = "Y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def both(low: Sequence[int], high: Sequence[int]) -> Profile:
    """A profile in which A and B have the same bounds."""
    return {name: (tuple(low), tuple(high), tuple(high)) for name in "AB"}


def only(low: Sequence[int], high: Sequence[int]) -> Profile:
    return {"X": (tuple(low), tuple(high), tuple(high))}


# Up to 8 rows of up to 16 numbers, and up to 2 rows of more of them.
SHORT, LONG = both((1, 1), (8, 16)), both((1, 17), (2, 64))

"""Probe for models whose rows depend on each other, and which batches would therefore give other answers.

A free first dimension may be a batch of independent rows, or an axis over which the model computes. Random rows are
run together and one by one: where an output differs, the rows depend on each other. Where none differs they are taken
for independent, which is shown for the rows that were drawn and no others: a dependence that only other values, more
rows or other sizes of free dimensions bring out is not seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import ml_dtypes
import numpy as np

from yais.engines import Array, Context, DeviceLostError, Engine, EngineError, Shape, TensorSpec

ROWS = 3
# Sizes of free dimensions, tried in turn until a model takes one.
_SIZES = (8, 32, 224)

# How far an element may be off, in parts of the largest one: kernels are chosen by the number of rows, and sum in other
# orders. On a GPU they may also round products to TF32, which has the mantissa of FP16.
_TOLERANCES = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-3}
_COARSE_TOLERANCE = 2e-2
# Elements of the inputs of all rows: what is larger than this is not worth the time and memory of a start.
_MOST_ELEMENTS = 2**26
_COARSE = frozenset({np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)})


@dataclass(frozen=True, slots=True)
class _Draw:
    """A way of drawing inputs: real numbers of a normal distribution or in (0, 1), whole ones in [0, `bound`)."""

    is_normal: bool
    bound: int


# The narrow one is for models that take logarithms, or whose whole numbers are indices into something small.
_WIDE, _NARROW = _Draw(is_normal=True, bound=100), _Draw(is_normal=False, bound=2)


def find_dependence(engine: Engine) -> str | None:
    """Why batches of `engine`, which can have them, would change its answers; None when no reason was found.

    That no run on random rows succeeds, or that their outputs are not numbers, is a reason as well: nothing is shown
    then. Raises `DeviceLostError`.
    """
    if engine.max_batch_size < 2:
        return None
    rows = min(ROWS, engine.max_batch_size)
    random = np.random.default_rng(0)
    failure = ""
    for shapes, draw in _attempts(engine):
        if rows * sum(map(prod, shapes)) > _MOST_ELEMENTS:
            return f"its rows are too large to be tried: {failure or shapes}"
        specs = zip(engine.inputs, shapes, strict=True)
        inputs = [_random(random, spec, (rows, *shape), draw) for spec, shape in specs]
        try:
            return _compare(engine, shapes, inputs)
        except DeviceLostError:
            raise
        except EngineError as error:
            failure = str(error)
    return f"random rows could not be run: {failure}"


def _attempts(engine: Engine) -> Iterator[tuple[tuple[Shape, ...], _Draw]]:
    """Shapes of a row of each input, and how to draw it."""
    is_fixed = all(spec.is_fixed for spec in engine.inputs)
    # An index out of bounds is an error on the CPU; on a GPU it may be anything.
    draws = (_WIDE, _NARROW) if engine.device == "cpu" else (_NARROW,)
    for size in _SIZES[:1] if is_fixed else _SIZES:
        shapes = tuple(tuple(size if dim == -1 else dim for dim in spec.shape) for spec in engine.inputs)
        yield from ((shapes, draw) for draw in draws)


def _random(random: np.random.Generator, spec: TensorSpec, shape: Shape, draw: _Draw) -> Array:
    if spec.dtype.hasobject:
        digits: Array = random.integers(draw.bound, size=shape).astype(bytes).astype(object)
        return digits
    if spec.dtype.kind in "biu":
        return random.integers(2 if spec.dtype.kind == "b" else draw.bound, size=shape).astype(spec.dtype)
    return (random.normal(size=shape) if draw.is_normal else random.random(shape)).astype(spec.dtype)


def _compare(engine: Engine, shapes: Sequence[Shape], inputs: Sequence[Array]) -> str | None:
    """What differs between `inputs` as one batch and its rows one by one. Raises `EngineError`."""
    context = engine.create_context()
    together = _run(engine, context, shapes, inputs)
    for row in range(len(inputs[0])):
        alone = _run(engine, context, shapes, [array[row : row + 1] for array in inputs])
        for spec in engine.outputs:
            expected, got = alone[spec.name], together[spec.name][row : row + 1]
            if _is_numeric(expected) and not np.isfinite(expected.astype(np.float64)).any():
                raise EngineError(f"output '{spec.name}' has no finite number")
            if not _agree(expected, got, engine.device):
                return f"output '{spec.name}' of a row changes with the rows beside it"
    return None


def _run(engine: Engine, context: Context, shapes: Sequence[Shape], inputs: Sequence[Array]) -> dict[str, Array]:
    """Copies of the outputs, since the context's next run writes to the same buffers."""
    rows = len(inputs[0])
    context.fit(tuple(shapes))
    for spec, array in zip(engine.inputs, inputs, strict=True):
        context.inputs[spec.name][:rows] = array
    context.execute(rows)
    return {spec.name: context.outputs[spec.name][:rows].copy() for spec in engine.outputs}


def _agree(expected: Array, got: Array, device: str) -> bool:
    if expected.shape != got.shape:
        return False
    if expected.dtype.kind not in "fV":
        return bool((expected == got).all())
    is_coarse = device != "cpu" or expected.dtype in _COARSE
    tolerance = _COARSE_TOLERANCE if is_coarse else _TOLERANCES[expected.dtype]
    exact = expected.astype(np.float64)
    largest = np.abs(exact[np.isfinite(exact)]).max(initial=0)
    return bool(np.allclose(got.astype(np.float64), exact, rtol=0, atol=tolerance * largest, equal_nan=True))


def _is_numeric(array: Array) -> bool:
    return array.size > 0 and not array.dtype.hasobject

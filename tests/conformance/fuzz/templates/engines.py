"""The models of the programs: their inputs, how many outputs they have, and what becomes of their buffers."""

import numpy as np
from server.inline_model import KINDS, Echo, echo
from server.specs import spec

from conformance.fuzz.program import Program
from yais.engines import Array

_MANY = [spec(f"I{i}", "INT16", 1) for i in range(17)]
# Inputs, the number of outputs, and the largest batch.
_ENGINES = (
    ([spec("A", "FP32", -1)], 1, 4),
    ([spec("A", "INT64", 2)], 1, 0),
    ([spec("A", "FP32", 2), spec("B", "INT8", -1), spec("C", "BOOL")], 3, 4),
    ([spec("A", "FP32", -1), spec("B", "UINT8", -1, 2), spec("C", "BOOL")], 2, 0),
    ([spec("B", "INT8", -1), spec("A", "FP32", 2)], 5, 3),
    ([spec("A", "FP64")], 1, 8),
    ([spec("A", "BF16", 2), spec("B", "FP16", -1)], 2, 2),
    ([spec("A", "BYTES", -1)], 1, 4),
    ([spec("A", "FP32", 2), spec("S", "BYTES", 1)], 2, 4),
    (_MANY[:16], 16, 2),
    (_MANY, 1, 2),
    (_MANY[:1], 17, 2),
)
ENGINES = len(_ENGINES)


def _stretched(array: Array) -> Array:
    """Wider or narrower with the first element, so that requests of one template have answers of several shapes."""
    if array.ndim == 1 or not array.size or array.dtype.hasobject:
        return array
    return np.repeat(array, array.tobytes()[0] % 4, axis=-1)


# What becomes of an engine's output buffers.
_KINDS = (*KINDS.values(), _stretched)


def engine_of(program: Program) -> Echo:
    engine = echo(*_ENGINES[program.variant])
    engine.kind = _KINDS[program.setup & 7]
    return engine

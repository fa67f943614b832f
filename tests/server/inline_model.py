"""A model that runs on the caller's stack, of an engine that gives its inputs back in buffers of any kind."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np

from yais.engines import Array, InvalidInputError, Run, Shape, TensorSpec
from yais.server.errors import QueueFullError
from yais.server.metrics.recorder import InferenceRecorder
from yais.server.models.batching import Batcher
from yais.server.models.execution import execute
from yais.server.models.model import Model, ModelOptions
from yais.server.models.pool import Pool
from yais.server.models.request import Request

Kind = Callable[[Array], Array]

# What time it is when a model runs; deadlines in requests are around it.
NOW_S = 1000.0
_MAX_ELEMENTS = 10_000


def swapped(array: Array) -> Array:
    """In the other byte order, where numpy has one for the datatype."""
    is_multi_byte_number = array.dtype.itemsize > 1 and array.dtype.kind in "iuf"
    return array.astype(array.dtype.newbyteorder()) if is_multi_byte_number else array


def spread(array: Array) -> Array:
    """With gaps between the elements, and between the rows."""
    wide = np.zeros([2 * dim for dim in array.shape], array.dtype)
    every_other = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    every_other[...] = array
    return every_other


def locked(array: Array) -> Array:
    array.flags.writeable = False
    return array


def unaligned(array: Array) -> Array:
    if array.dtype.hasobject:
        return array
    return np.frombuffer(b"-" + array.tobytes(), array.dtype, array.size, 1).reshape(array.shape)


# How the output buffers of an engine may lie in memory.
KINDS: dict[str, Kind] = {
    "plain": lambda array: array,
    "swapped": swapped,
    "fortran": np.asfortranarray,
    "spread": spread,
    "reversed": lambda array: array[::-1].copy()[::-1],
    "locked": locked,
    "unaligned": unaligned,
}


@dataclass
class Echo:
    """Each output is the input that `sources` names, in buffers of this `kind`; negative INT8 elements are refused."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sources: dict[str, str]
    max_batch_size: int
    kind: Kind
    platform: str = "fake_numpy"
    device: str = "cpu"
    declares_batch: bool = True

    def create_context(self) -> "EchoContext":
        return EchoContext(self)

    def close(self) -> None:
        raise NotImplementedError


def echo(inputs: Sequence[TensorSpec], outputs: int, max_batch_size: int, kind: str = "plain") -> Echo:
    """An engine that gives its inputs back in turn, as outputs O0, O1 and so on."""
    given = {f"O{i}": inputs[i % len(inputs)] for i in range(outputs)}
    specs = tuple(TensorSpec(name, each.dtype, each.shape) for name, each in given.items())
    sources = {name: each.name for name, each in given.items()}
    return Echo(tuple(inputs), specs, sources, max_batch_size, KINDS[kind])


class EchoContext:
    def __init__(self, engine: Echo) -> None:
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        self._engine = engine
        self._capacity = max(1, engine.max_batch_size)

    def fit(self, shapes: Sequence[Shape]) -> None:
        for spec, shape in zip(self._engine.inputs, shapes, strict=True):
            if prod(max(1, dim) for dim in shape) > _MAX_ELEMENTS:
                raise InvalidInputError(f"tensor '{spec.name}': no memory for rows of {shape}")
            self.inputs[spec.name] = np.zeros((self._capacity, *shape), spec.dtype)

    def execute(self, rows: int) -> Run:
        for name, array in self.inputs.items():
            if array.dtype == np.int8 and (array[:rows] < 0).any():
                raise InvalidInputError(f"input '{name}' has a negative element")
        kind = self._engine.kind
        self.outputs = {name: kind(self.inputs[source].copy()) for name, source in self._engine.sources.items()}
        return Run(1)


class InlinePool(Pool):
    """Queues as a pool does, and runs when it is told to. Without a loop or threads."""

    def __init__(self, engine: Echo, recorder: InferenceRecorder, max_queue_size: int) -> None:
        self.queue: Batcher[Request] = Batcher(max(1, engine.max_batch_size), max_queue_size)
        no_loop = cast("asyncio.AbstractEventLoop", None)
        super().__init__("m", [], threads=0, batcher=self.queue, recorder=recorder, loop=no_loop)
        self.context = engine.create_context()

    def add(self, request: Request) -> None:
        if len(self.queue) >= self.queue.max_items:
            raise QueueFullError(self.queue.max_items)
        request.queued = request.arrived
        self.queue.add(request, 0)

    def discard(self, request: Request) -> None:
        self.queue.discard(request)

    def run(self) -> None:
        """Runs all that waits."""
        while (batch := self.queue.take(int(NOW_S * 1e9))) is not None:
            executions = execute(self.context, batch.items, 0) if batch.items else []
            self._finish(executions, batch.expired)


class InlineModel(Model):
    """A model whose pool is an `InlinePool`."""

    def __init__(self, engine: Echo, max_queue_size: int = 1000) -> None:
        no_loop = cast("asyncio.AbstractEventLoop", None)
        super().__init__("m", engine, ModelOptions(0, 0, 0, max_queue_size), no_loop)
        self.pool: InlinePool = InlinePool(engine, self.recorder, max_queue_size)

    def run(self) -> None:
        """Runs all that waits."""
        self.pool.run()

"""Inputs made up from what a model says of them."""

import click
import numpy as np

from yais.clients.messages import Array, Arrays, ModelMetadata, TensorMetadata
from yais.clients.options import Filling, Shapes
from yais.proto.tensors import DTYPES

_FREE_DIMENSION = 16
_LETTERS = 8


def generate(
    metadata: ModelMetadata, rows: int | None, shapes: Shapes, filling: Filling, random: np.random.Generator
) -> Arrays:
    """The inputs of one request; `rows` is None for a model without a batch dimension, `shapes` are those of a row."""
    unknown = shapes.keys() - {tensor.name for tensor in metadata.inputs}
    if unknown:
        names = ", ".join(tensor.name for tensor in metadata.inputs)
        raise click.UsageError(f"--shape {min(unknown)}: the inputs of {metadata.name} are {names}")
    return {
        tensor.name: fill(tensor.datatype, _shape(tensor, rows, shapes.get(tensor.name)), filling, random)
        for tensor in metadata.inputs
    }


def fill(datatype: str, shape: tuple[int, ...], filling: Filling, random: np.random.Generator) -> Array:
    if datatype not in DTYPES:
        raise click.UsageError(f"no inputs can be generated for datatype {datatype}")
    dtype = DTYPES[datatype]
    if filling == "zeros":
        return np.full(shape, b"", dtype) if datatype == "BYTES" else np.zeros(shape, dtype)
    if datatype == "BYTES":
        letters = random.integers(ord("a"), ord("z") + 1, (*shape, _LETTERS), np.uint8)
        return letters.view(f"S{_LETTERS}").reshape(shape).astype(dtype)
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return random.integers(0, 256 if datatype == "UINT8" else 128, shape).astype(dtype)
    return random.random(shape, np.float32).astype(dtype)


def _shape(tensor: TensorMetadata, rows: int | None, asked: tuple[int, ...] | None) -> tuple[int, ...]:
    leading, dimensions = ((rows,), tensor.shape[1:]) if rows is not None else ((), tensor.shape)
    if asked is None:
        return (*leading, *(_FREE_DIMENSION if dimension == -1 else dimension for dimension in dimensions))
    if len(asked) != len(dimensions) or any(
        have not in (-1, want) for have, want in zip(dimensions, asked, strict=True)
    ):
        raise click.UsageError(f"--shape: a row of {tensor.name} is {list(dimensions)}, not {list(asked)}")
    return (*leading, *asked)

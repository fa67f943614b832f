"""Generated inputs, made up from what a model says of them; batch sizes and weights as options write them."""

import math
from collections.abc import Mapping
from typing import Literal

import click
import numpy as np

from yais.clients.inputs.names import did_you_mean
from yais.clients.protocol import Array, Arrays, ModelMetadata, TensorMetadata
from yais.proto.tensors import DTYPES

Filling = Literal["random", "zeros"]
Shapes = Mapping[str, tuple[int, ...]]

# What a dimension of any size is, unless --shape says.
_FREE_DIMENSION = 16
# Of a BYTES element.
_LETTERS = 8

Sizes = Mapping[int, float]

_MOST_SIZES = 1024
_TAIL = 0.001


def generate_inputs(
    metadata: ModelMetadata, rows: int | None, shapes: Shapes, filling: Filling, random: np.random.Generator
) -> Arrays:
    """The inputs of one request; `rows` is None for a model without a batch dimension, `shapes` are those of a row."""
    unknown = shapes.keys() - {tensor.name for tensor in metadata.inputs}
    if unknown:
        names = ", ".join(tensor.name for tensor in metadata.inputs)
        hint = did_you_mean(min(unknown), [tensor.name for tensor in metadata.inputs])
        raise click.UsageError(f"--shape {min(unknown)}: the inputs of {metadata.name} are {names}{hint}")
    return {
        tensor.name: fill_array(tensor.datatype, _input_shape(tensor, rows, shapes.get(tensor.name)), filling, random)
        for tensor in metadata.inputs
    }


def fill_array(datatype: str, shape: tuple[int, ...], filling: Filling, random: np.random.Generator) -> Array:
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
        # Small enough for INT8: indices into a table, as tokens are, are more likely to be valid.
        return random.integers(0, 256 if datatype == "UINT8" else 128, shape).astype(dtype)
    return random.random(shape, np.float32).astype(dtype)


def parse_sizes(text: str) -> Sizes:
    """The weights by size. Raises ValueError, naming the bound, for what is none of the forms.

    `8`; `1..16`, all alike; `1:70,8:25,32:5`, by weight; `geometric:MEAN` or `geometric:MEAN:MOST`.
    """
    if text.startswith("geometric:"):
        # P(k) = p (1 - p)^(k - 1) with p = 1 / mean; cut at MOST, or else where less than 0.1 % is left.
        _, mean_text, *most_text = text.split(":")
        try:
            mean = float(mean_text)
        except ValueError:
            mean = math.nan
        if not 1 < mean <= 100 or len(most_text) > 1:
            raise ValueError(f"{text!r} is not geometric:MEAN[:MOST] with a mean above 1 and up to 100")
        stay = 1 - 1 / mean
        most = _parse_size(most_text[0]) if most_text else math.ceil(math.log(_TAIL) / math.log(stay))
        return {size: (1 - stay) * stay ** (size - 1) for size in range(1, min(most, _MOST_SIZES) + 1)}
    if ".." in text:
        first, _, last = text.partition("..")
        least, most = _parse_size(first), _parse_size(last)
        if not 0 <= most - least < _MOST_SIZES:
            raise ValueError(f"{least}..{most} is not a range of 1 to {_MOST_SIZES} sizes")
        return dict.fromkeys(range(least, most + 1), 1.0)
    return {_parse_size(size): weight for size, weight in parse_weights(text, ":").items()}


def parse_weights(text: str, separator: str) -> dict[str, float]:
    """The weights by name, in the order of `text`; 1 where none is given. Raises ValueError, naming what is wrong."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        part = part.strip()
        # The last separator: a name may have some of its own, as that of a file has.
        name, found, number = part.rpartition(separator)
        if not found:
            name, number = part, "1"
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        # NaN is in no range.
        if not name or not 0 < weight < math.inf:
            raise ValueError(f"{part!r} is not NAME{separator}WEIGHT with a weight above 0")
        if name in weights:
            raise ValueError(f"{name!r} is there twice")
        weights[name] = weight
    return weights


def _input_shape(tensor: TensorMetadata, rows: int | None, asked: tuple[int, ...] | None) -> tuple[int, ...]:
    leading, dimensions = ((rows,), tensor.shape[1:]) if rows is not None else ((), tensor.shape)
    if asked is None:
        return (*leading, *(_FREE_DIMENSION if dimension == -1 else dimension for dimension in dimensions))
    if len(asked) != len(dimensions) or any(
        have not in (-1, want) for have, want in zip(dimensions, asked, strict=True)
    ):
        raise click.UsageError(f"--shape: a row of {tensor.name} is {list(dimensions)}, not {list(asked)}")
    return (*leading, *asked)


def _parse_size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a size: write 8, 1..16, 1:70,8:25,32:5 (by weight) or geometric:MEAN[:MOST]"
        ) from None
    if size < 1:
        raise ValueError(f"{size} is not in the range x>=1")
    return size

"""Engines that only say what they take and give."""

from dataclasses import dataclass

import numpy as np

from yais.engines import Shape, TensorSpec
from yais.proto.tensors import DTYPES


def spec(name: str, datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, DTYPES[datatype], tuple(shape))


@dataclass(frozen=True)
class Described:
    """An engine that cannot run."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int = 0
    platform: str = "fake_numpy"
    device: str = "cpu"
    declares_batch: bool = True

    def create_context(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def one_input(datatype: str, *shape: int, max_batch_size: int = 0) -> Described:
    return Described((spec("X", datatype, *shape),), (spec("Y", datatype, *shape),), max_batch_size)


def raw(datatype: str, *shape: int) -> bytes:
    """Zeros of `shape`, as raw contents."""
    count = int(np.prod(shape))
    return bytes(4 * count) if datatype == "BYTES" else bytes(DTYPES[datatype].itemsize * count)


def shape_of(text: str) -> Shape:
    """`2x3` as (2, 3)."""
    return tuple(int(dim) for dim in text.split("x")) if text else ()

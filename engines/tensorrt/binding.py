"""The inputs and outputs of a plan, with the shapes that its optimization profiles allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from yais.engines.base import EngineError, Shape, TensorSpec
from yais.engines.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt as trt

# TensorRT's name of a type -> numpy's; FP8, INT4 and FP4 are for the inside of a network.
_TYPES: dict[str, np.dtype[Any]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "BOOL": np.dtype(np.bool_),
}


# The end of a network's name whose first dimension is none of batches although it varies; a plan has no better place.
NO_BATCH = " (no batch dimension)"


@dataclass(frozen=True, slots=True)
class Range:
    """The shapes of one input in one profile, the batch with them."""

    minimum: Shape
    maximum: Shape

    def contains(self, shape: Shape) -> bool:
        return len(shape) == len(self.minimum) and all(
            low <= dim <= high for low, dim, high in zip(self.minimum, shape, self.maximum, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Binding:
    """One input or output. `shape` is the plan's own, with -1 for what varies; `ranges` has one for each profile."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Bindings:
    """All of a plan; `profiles` is how many optimization profiles it has.

    `is_batchable`: whether the first dimension of every tensor is the batch.
    """

    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    profiles: int
    is_batchable: bool

    def max_batch_size(self, asked: int | None) -> int:
        """The largest batch of any profile, `asked` at most; 0 without a batch dimension.

        Raises `EngineError` when the plan takes no batch as small as that.
        """
        if not self.is_batchable or asked == 0:
            return 0
        largest = max(self.rows_of(profile)[1] for profile in range(self.profiles))
        least = min(self.rows_of(profile)[0] for profile in range(self.profiles))
        if asked is not None and asked < least:
            raise EngineError(f"--max-batch-size: {asked} is less than the {least} rows that the plan takes at least")
        return largest if asked is None else min(largest, asked)

    def rows_of(self, profile: int) -> tuple[int, int]:
        """The least and the most rows that all inputs have in a profile."""
        ranges = [binding.ranges[profile] for binding in self.inputs]
        return max(each.minimum[0] for each in ranges), min(each.maximum[0] for each in ranges)


def read_bindings(engine: "trt.ICudaEngine", library: Library) -> Bindings:
    """Raises `EngineError` for a tensor that cannot be served."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    is_input = {name: engine.get_tensor_mode(name) == library.module.TensorIOMode.INPUT for name in names}
    for name in names:
        _check(engine, library, name)
    inputs = tuple(_binding(engine, name, _ranges(engine, name)) for name in names if is_input[name])
    outputs = tuple(_binding(engine, name, ()) for name in names if not is_input[name])
    all_vary = bool(inputs) and all(each.shape[:1] == (-1,) for each in (*inputs, *outputs))
    is_batchable = all_vary and not engine.name.endswith(NO_BATCH)
    return Bindings(inputs, outputs, engine.num_optimization_profiles, is_batchable)


def spec(binding: Binding, has_batch: bool) -> TensorSpec:
    """As the service sees it: without the batch dimension."""
    return TensorSpec(binding.name, binding.dtype, binding.shape[1:] if has_batch else binding.shape)


def _binding(engine: "trt.ICudaEngine", name: str, ranges: Iterator[Range] | Sequence[Range]) -> Binding:
    dtype = _TYPES[engine.get_tensor_dtype(name).name]
    return Binding(name, dtype, tuple(engine.get_tensor_shape(name)), tuple(ranges))


def _ranges(engine: "trt.ICudaEngine", name: str) -> Iterator[Range]:
    for profile in range(engine.num_optimization_profiles):
        minimum, _, maximum = engine.get_tensor_profile_shape(name, profile)
        yield Range(tuple(minimum), tuple(maximum))


def _check(engine: "trt.ICudaEngine", library: Library, name: str) -> None:
    kind = engine.get_tensor_dtype(name).name
    if kind not in _TYPES:
        raise EngineError(f"tensor '{name}' is {kind}, which the inference protocol cannot carry")
    if engine.get_tensor_location(name) != library.module.TensorLocation.DEVICE:
        raise EngineError(f"tensor '{name}' is a shape, which is not served; the network should make it of its inputs")
    if engine.get_tensor_format(name) != library.module.TensorFormat.LINEAR:
        raise EngineError(f"tensor '{name}' is {engine.get_tensor_format(name).name}, not in C order")

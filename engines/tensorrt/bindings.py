"""Bindings of a plan: its inputs and outputs, the shapes that its profiles allow, and how batches fit them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from yais.engines.base import EngineError, InvalidInputError, Shape, TensorSpec
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


# The end of a network's name whose first dimension is none of batches although it varies, or is declared to be one; a
# plan has no better place.
NO_BATCH = " (no batch dimension)"
DECLARED_BATCH = " (batch dimension)"


@dataclass(frozen=True, slots=True)
class ShapeBounds:
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
    ranges: tuple[ShapeBounds, ...] = ()


@dataclass(frozen=True, slots=True)
class Bindings:
    """All of a plan; `profiles` is how many optimization profiles it has.

    `is_batchable`: whether the first dimension of every tensor is the batch, which `declares_batch` says is declared.
    """

    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    profiles: int
    is_batchable: bool
    declares_batch: bool = False

    def max_batch_size(self, asked: int | None) -> int:
        """The largest batch of any profile, `asked` at most; 0 without a batch dimension.

        Raises `EngineError` when the plan takes no batch as small as that.
        """
        if not self.is_batchable or asked == 0:
            return 0
        # Batches may be of any size between, whatever gap there is between two profiles: they are filled up.
        largest = max(self.rows_of(profile)[1] for profile in range(self.profiles))
        least = min(self.rows_of(profile)[0] for profile in range(self.profiles))
        if asked is not None and asked < least:
            raise EngineError(f"--max-batch-size: {asked} is less than the {least} rows that the plan takes at least")
        return largest if asked is None else min(largest, asked)

    def rows_of(self, profile: int) -> tuple[int, int]:
        """The least and the most rows that all inputs have in a profile."""
        ranges = [binding.ranges[profile] for binding in self.inputs]
        return max(bounds.minimum[0] for bounds in ranges), min(bounds.maximum[0] for bounds in ranges)


def read_bindings(engine: "trt.ICudaEngine", library: Library) -> Bindings:
    """Raises `EngineError` for a tensor that cannot be served."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    is_input = {name: engine.get_tensor_mode(name) == library.module.TensorIOMode.INPUT for name in names}
    for name in names:
        _check(engine, library, name)
    inputs = tuple(_binding(engine, name, _ranges(engine, name)) for name in names if is_input[name])
    outputs = tuple(_binding(engine, name, ()) for name in names if not is_input[name])
    all_vary = bool(inputs) and all(binding.shape[:1] == (-1,) for binding in (*inputs, *outputs))
    is_batchable = all_vary and not engine.name.endswith(NO_BATCH)
    declares = engine.name.endswith(DECLARED_BATCH)
    return Bindings(inputs, outputs, engine.num_optimization_profiles, is_batchable, declares)


def tensor_spec(binding: Binding, has_batch: bool) -> TensorSpec:
    """As the service sees it: without the batch dimension."""
    return TensorSpec(binding.name, binding.dtype, binding.shape[1:] if has_batch else binding.shape)


def _binding(engine: "trt.ICudaEngine", name: str, ranges: Iterator[ShapeBounds] | Sequence[ShapeBounds]) -> Binding:
    dtype = _TYPES[engine.get_tensor_dtype(name).name]
    return Binding(name, dtype, tuple(engine.get_tensor_shape(name)), tuple(ranges))


def _ranges(engine: "trt.ICudaEngine", name: str) -> Iterator[ShapeBounds]:
    for profile in range(engine.num_optimization_profiles):
        # The shape in the middle is the one that kernels are tuned for, and bounds nothing.
        minimum, _, maximum = engine.get_tensor_profile_shape(name, profile)
        yield ShapeBounds(tuple(minimum), tuple(maximum))


def _check(engine: "trt.ICudaEngine", library: Library, name: str) -> None:
    kind = engine.get_tensor_dtype(name).name
    if kind not in _TYPES:
        raise EngineError(f"tensor '{name}' is {kind}, which the inference protocol cannot carry")
    # TensorRT reads the values of a shape tensor on the host, when shapes are set and not when the run comes to it.
    if engine.get_tensor_location(name) != library.module.TensorLocation.DEVICE:
        raise EngineError(f"tensor '{name}' is a shape, which is not served; the network should make it of its inputs")
    # The other formats pack or pad channels, as CHW32 does, and rows would have to be converted.
    if engine.get_tensor_format(name) != library.module.TensorFormat.LINEAR:
        raise EngineError(f"tensor '{name}' is {engine.get_tensor_format(name).name}, not in C order")


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """A profile by its index, the rows to be run in it, and the shape that each input then has."""

    profile: int
    rows: int
    shapes: tuple[Shape, ...]


def choose(bindings: Bindings, rows: int, shapes: Sequence[Shape], has_batch: bool) -> ProfileChoice | None:
    """The profile for the smallest batches that takes `rows` rows of `shapes`; None when there is none.

    A profile that takes no batch as small as that has it filled up to its least.
    """
    found: ProfileChoice | None = None
    least: Shape = ()
    for profile in range(bindings.profiles):
        ranges = [binding.ranges[profile] for binding in bindings.inputs]
        padded = max(rows, bindings.rows_of(profile)[0]) if has_batch else rows
        full = tuple((padded, *shape) if has_batch else tuple(shape) for shape in shapes)
        if all(bounds.contains(shape) for bounds, shape in zip(ranges, full, strict=True)):
            # Of those that fit, the profile for the smallest batches has the kernels that are tuned closest to this.
            largest = max((bounds.maximum for bounds in ranges), default=())
            if found is None or largest < least:
                found, least = ProfileChoice(profile, padded, full), largest
    return found


def check_shapes(bindings: Bindings, shapes: Sequence[Shape], has_batch: bool) -> None:
    """Raises `InvalidInputError` when no profile takes rows of these shapes, and names the input and its bounds."""
    if choose(bindings, 1, shapes, has_batch) is not None:
        return
    for binding, shape in zip(bindings.inputs, shapes, strict=True):
        # The batch is not at fault here: whatever a profile has for its least is put in front.
        if not any(
            bounds.contains((bounds.minimum[0], *shape) if has_batch else tuple(shape)) for bounds in binding.ranges
        ):
            raise InvalidInputError(f"input '{binding.name}': shape {list(shape)} is not {_bounds(binding, has_batch)}")
    raise InvalidInputError(
        f"no profile of the plan takes inputs of the shapes {[list(shape) for shape in shapes]} together"
    )


def _bounds(binding: Binding, has_batch: bool) -> str:
    first = 1 if has_batch else 0
    texts = (f"from {list(bounds.minimum[first:])} to {list(bounds.maximum[first:])}" for bounds in binding.ranges)
    return " or ".join(dict.fromkeys(texts))


class BatchLayout:
    """`max_batch_size` is an upper bound on the batch, as of `EngineOptions`. Raises `EngineError`."""

    def __init__(self, bindings: Bindings, max_batch_size: int | None) -> None:
        self.bindings = bindings
        self.max_batch_size = bindings.max_batch_size(max_batch_size)
        self.inputs = self._specs(bindings.inputs)
        self.outputs = self._specs(bindings.outputs)
        # Asked before every run. Bounded, since requests decide shapes.
        self.choose = lru_cache(maxsize=1024)(self._choose)

    @property
    def capacity(self) -> int:
        """Rows of the largest batch, 1 without a batch dimension."""
        return max(1, self.max_batch_size)

    @property
    def rows_on_device(self) -> int:
        """The same with what a batch may be filled up with."""
        if not self.max_batch_size:
            return 1
        # --max-batch-size may be less than a profile's least, but TensorRT runs that many all the same.
        return max(self.bindings.rows_of(profile)[1] for profile in range(self.bindings.profiles))

    @property
    def is_fixed(self) -> bool:
        """Whether all shapes are known but for the batch."""
        return all(spec.is_fixed for spec in (*self.inputs, *self.outputs))

    @property
    def fixed_shapes(self) -> tuple[Shape, ...]:
        return tuple(spec.shape for spec in self.inputs)

    def input_size(self, binding: Binding) -> int:
        """The bytes of an input's largest shape in any profile."""
        return max(prod(bounds.maximum) for bounds in binding.ranges) * binding.dtype.itemsize

    def _choose(self, rows: int, shapes: tuple[Shape, ...]) -> ProfileChoice:
        """The profile for a batch. Raises `InvalidInputError` when none takes it."""
        found = choose(self.bindings, rows, shapes, bool(self.max_batch_size))
        if found is None:
            raise InvalidInputError(
                f"no profile of the plan takes {rows} rows of the shapes {[list(shape) for shape in shapes]}"
            )
        return found

    def _specs(self, bindings: Sequence[Binding]) -> tuple[TensorSpec, ...]:
        return tuple(tensor_spec(binding, bool(self.max_batch_size)) for binding in bindings)

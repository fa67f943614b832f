"""How batches lie in memory and which profile takes them: what follows from a plan's bindings alone."""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from yais.engines.base import InvalidInputError, Shape, TensorSpec
from yais.engines.tensorrt.binding import Binding, Bindings, spec
from yais.engines.tensorrt.profiles import Choice, choose


class Layout:
    """`max_batch_size` is an upper bound on the batch, as of `EngineOptions`. Raises `EngineError`."""

    def __init__(self, bindings: Bindings, max_batch_size: int | None) -> None:
        self.bindings = bindings
        self.max_batch_size = bindings.max_batch_size(max_batch_size)
        self.inputs = self._specs(bindings.inputs)
        self.outputs = self._specs(bindings.outputs)
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
        return max(self.bindings.rows_of(profile)[1] for profile in range(self.bindings.profiles))

    @property
    def is_fixed(self) -> bool:
        """Whether all shapes are known but for the batch."""
        return all(each.is_fixed for each in (*self.inputs, *self.outputs))

    @property
    def fixed_shapes(self) -> tuple[Shape, ...]:
        return tuple(each.shape for each in self.inputs)

    def input_size(self, binding: Binding) -> int:
        """The bytes of an input's largest shape in any profile."""
        return max(prod(each.maximum) for each in binding.ranges) * binding.dtype.itemsize

    def _choose(self, rows: int, shapes: tuple[Shape, ...]) -> Choice:
        """The profile for a batch. Raises `InvalidInputError` when none takes it."""
        found = choose(self.bindings, rows, shapes, bool(self.max_batch_size))
        if found is None:
            raise InvalidInputError(
                f"no profile of the plan takes {rows} rows of the shapes {[list(each) for each in shapes]}"
            )
        return found

    def _specs(self, bindings: Sequence[Binding]) -> tuple[TensorSpec, ...]:
        return tuple(spec(each, bool(self.max_batch_size)) for each in bindings)

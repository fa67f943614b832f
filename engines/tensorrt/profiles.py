"""Which optimization profile a batch runs in, and with how many rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from yais.engines.base import InvalidInputError, Shape
from yais.engines.tensorrt.binding import Binding, Bindings


@dataclass(frozen=True, slots=True)
class Choice:
    """A profile by its index, the rows to be run in it, and the shape that each input then has."""

    profile: int
    rows: int
    shapes: tuple[Shape, ...]


def choose(bindings: Bindings, rows: int, shapes: Sequence[Shape], has_batch: bool) -> Choice | None:
    """The profile for the smallest batches that takes `rows` rows of `shapes`; None when there is none.

    A profile that takes no batch as small as that has it filled up to its least.
    """
    fitting = [choice for choice in _choices(bindings, rows, shapes, has_batch) if _is_taken(bindings, choice)]
    return min(fitting, key=lambda choice: _room(bindings, choice.profile), default=None)


def check_shapes(bindings: Bindings, shapes: Sequence[Shape], has_batch: bool) -> None:
    """Raises `InvalidInputError` when no profile takes rows of these shapes, and names the input and its bounds."""
    if choose(bindings, 1, shapes, has_batch) is not None:
        return
    for binding, shape in zip(bindings.inputs, shapes, strict=True):
        if not any(_takes_rows(binding, profile, shape, has_batch) for profile in range(bindings.profiles)):
            raise InvalidInputError(f"input '{binding.name}': shape {list(shape)} is not {_bounds(binding, has_batch)}")
    raise InvalidInputError(
        f"no profile of the plan takes inputs of the shapes {[list(shape) for shape in shapes]} together"
    )


def _choices(bindings: Bindings, rows: int, shapes: Sequence[Shape], has_batch: bool) -> Iterator[Choice]:
    for profile in range(bindings.profiles):
        padded = max(rows, bindings.rows_of(profile)[0]) if has_batch else rows
        yield Choice(profile, padded, tuple((padded, *shape) if has_batch else tuple(shape) for shape in shapes))


def _is_taken(bindings: Bindings, choice: Choice) -> bool:
    pairs = zip(bindings.inputs, choice.shapes, strict=True)
    return all(binding.ranges[choice.profile].contains(shape) for binding, shape in pairs)


def _room(bindings: Bindings, profile: int) -> tuple[int, ...]:
    return max((binding.ranges[profile].maximum for binding in bindings.inputs), default=())


def _takes_rows(binding: Binding, profile: int, shape: Shape, has_batch: bool) -> bool:
    bounds = binding.ranges[profile]
    return bounds.contains((bounds.minimum[0], *shape) if has_batch else tuple(shape))


def _bounds(binding: Binding, has_batch: bool) -> str:
    first = 1 if has_batch else 0
    texts = (f"from {list(each.minimum[first:])} to {list(each.maximum[first:])}" for each in binding.ranges)
    return " or ".join(dict.fromkeys(texts))

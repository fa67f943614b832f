"""Optimization profiles: the shapes that a plan is made to take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yais.engines.base import DEFAULT_MAX_BATCH_SIZE, Shape
from yais.engines.zoo import BuildError


@dataclass(frozen=True, slots=True)
class NetworkTensor:
    """An input or output of a network; `shape` has the batch dimension, where there is one, and -1 for what varies.

    `is_shape`: its values are dimensions of other tensors.
    """

    name: str
    datatype: str
    shape: Shape
    is_shape: bool = False


@dataclass(frozen=True, slots=True)
class BatchRange:
    """Rows of one profile. By default 1 at least, what the model declares at most, and the most is the optimum."""

    minimum: int = 1
    optimum: int | None = None
    maximum: int | None = None

    def __post_init__(self) -> None:
        if self.minimum < 1:
            raise BuildError(f"--min-batch: {self.minimum} is less than 1")
        if self.maximum is not None and self.maximum < self.minimum:
            raise BuildError(f"--max-batch: {self.maximum} is less than --min-batch, {self.minimum}")
        if self.optimum is not None and self.optimum < self.minimum:
            raise BuildError(f"--opt-batch: {self.optimum} is less than --min-batch, {self.minimum}")
        if self.optimum is not None and self.maximum is not None and self.optimum > self.maximum:
            raise BuildError(f"--opt-batch: {self.optimum} is more than --max-batch, {self.maximum}")

    def up_to(self, largest: int) -> "BatchRange":
        """The same with bounds for all; `largest` stands in for the maximum."""
        # TensorRT tunes for the optimum: a server that batches runs mostly full batches when it matters.
        maximum = largest if self.maximum is None else self.maximum
        return BatchRange(self.minimum, maximum if self.optimum is None else self.optimum, maximum)


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Shapes of one input: of one row, without the batch dimension where the model has one."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    def __post_init__(self) -> None:
        if not len(self.minimum) == len(self.optimum) == len(self.maximum):
            raise BuildError(f"{self} has bounds of different numbers of dimensions")
        for low, best, high in zip(self.minimum, self.optimum, self.maximum, strict=True):
            if not 0 <= low <= best <= high:
                raise BuildError(f"{self} is not MIN:OPT:MAX with MIN <= OPT <= MAX: {low}, {best}, {high}")

    def __str__(self) -> str:
        return ":".join(format_shape(shape) for shape in (self.minimum, self.optimum, self.maximum))

    def with_batch(self, batch: BatchRange) -> "ShapeRange":
        assert batch.optimum is not None
        assert batch.maximum is not None
        return ShapeRange(
            (batch.minimum, *self.minimum), (batch.optimum, *self.optimum), (batch.maximum, *self.maximum)
        )


# The bounds of each input that has a free dimension.
Profile = dict[str, ShapeRange]


@dataclass(frozen=True, slots=True)
class ProfileBounds:
    """What is asked for: ranges of rows, or only `max_batch` at most; the other dimensions of inputs, by name.

    `max_batch` 0 is for no batch dimension: the first dimension then is one as the others.
    """

    batches: tuple[BatchRange, ...] = ()
    max_batch: int | None = None
    shapes: Mapping[str, ShapeRange] | None = None


def plan_profiles(
    inputs: Sequence[NetworkTensor], outputs: Sequence[NetworkTensor], bounds: ProfileBounds, declared: int | None
) -> list[Profile]:
    """One profile for each range of rows; none where nothing varies.

    `declared` is the largest batch that the model declares. Raises `BuildError` that names flag and bound.
    """
    for tensor in inputs:
        # Its profile would bound values, and requests would decide shapes by what they hold.
        if tensor.is_shape:
            raise BuildError(f"input '{tensor.name}' is a shape, whose values would be part of the plan: not supported")
    unbatched = "--max-batch is 0" if bounds.max_batch == 0 else _why_unbatched(inputs, outputs, declared)
    if unbatched is not None and bounds.batches:
        raise BuildError(f"--max-batch: the model has no batch dimension, since {unbatched}")
    shapes = _shapes(inputs, bounds.shapes or {}, unbatched)
    if unbatched is None:
        most = min(
            (known for known in (declared, bounds.max_batch) if known is not None), default=DEFAULT_MAX_BATCH_SIZE
        )
        profiles = []
        for batch in bounds.batches or (BatchRange(),):
            if declared is not None and batch.maximum is not None and batch.maximum > declared:
                raise BuildError(f"--max-batch: {batch.maximum} is more than the {declared} that the model declares")
            rows = batch.up_to(most)
            profiles.append({name: shape.with_batch(rows) for name, shape in shapes.items()})
        return profiles
    # Without a batch dimension a plan needs a profile for free dimensions alone.
    varying = {tensor.name: shapes[tensor.name] for tensor in inputs if -1 in tensor.shape}
    return [varying] if varying else []


def _why_unbatched(
    inputs: Sequence[NetworkTensor], outputs: Sequence[NetworkTensor], declared: int | None
) -> str | None:
    """Why the model has no batch dimension, None when it has one."""
    fixed = next((tensor for tensor in (*inputs, *outputs) if tensor.shape[:1] != (-1,)), None)
    if fixed is not None and declared:
        raise BuildError(
            f"the model declares batches of {declared}, but the first dimension of '{fixed.name}' is fixed"
        )
    if declared == 0:
        return "it declares none"
    if not inputs:
        return "it has no inputs"
    return None if fixed is None else f"the first dimension of '{fixed.name}', {format_shape(fixed.shape)}, is fixed"


def _shapes(
    inputs: Sequence[NetworkTensor], given: Mapping[str, ShapeRange], unbatched: str | None
) -> dict[str, ShapeRange]:
    for name in given.keys() - {tensor.name for tensor in inputs}:
        names = ", ".join(tensor.name for tensor in inputs) or "none"
        raise BuildError(f"--shape {name}: the model has no such input; its inputs are {names}")
    return {tensor.name: _shape(tensor, given.get(tensor.name), unbatched) for tensor in inputs}


def _shape(tensor: NetworkTensor, given: ShapeRange | None, unbatched: str | None) -> ShapeRange:
    row = tensor.shape if unbatched else tensor.shape[1:]
    note = f" (the first is no batch, since {unbatched})" if unbatched else " besides the batch"
    dimensions = format_shape(row).replace("-1", "?") + note
    if given is None and -1 in row:
        bounds = f"--shape {tensor.name}=MIN:OPT:MAX"
        raise BuildError(f"input '{tensor.name}' has free dimensions, {dimensions}; give {bounds}")
    if given is None:
        # A profile bounds every dimension of an input, also those that the network has fixed.
        return ShapeRange(row, row, row)
    if len(given.minimum) != len(row):
        raise BuildError(f"--shape {tensor.name}={given}: the input's dimensions are {dimensions}")
    for dim, low, high in zip(row, given.minimum, given.maximum, strict=True):
        if dim != -1 and not low == dim == high:
            raise BuildError(f"--shape {tensor.name}={given}: {dim} is fixed in the input's dimensions, {dimensions}")
    return given


def format_shape(shape: Shape) -> str:
    """As in `--shape`; of no dimensions, `scalar`."""
    return "x".join(map(str, shape)) or "scalar"

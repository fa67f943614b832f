"""What files hold, as data; its JSON is what `engine-inspect --json` prints."""

from dataclasses import dataclass
from typing import Any

from yais.engines.base import Shape


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output; a string in `shape` is the name of a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """How many values of one type the model has, and the bytes of them."""

    values: int
    size: int


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """`size` is that of the file alone, without those of weights that lie beside it.

    `opsets` are by domain, `max_batch_size` is what the model declares, `weights` are by type, and `operators` say how
    often each is used.
    """

    kind: str
    size: int
    name: str
    producer: str
    ir_version: int
    opsets: dict[str, int]
    max_batch_size: int | None
    is_quantised: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: dict[str, Weights]
    operators: dict[str, int]


@dataclass(frozen=True, slots=True)
class Range:
    """The shapes of an input that one profile allows, and the one that it is tuned for."""

    minimum: Shape
    optimum: Shape
    maximum: Shape


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output; -1 in `shape` varies. `memory` is DEVICE, or HOST for what is a shape itself.

    `ranges`: of an input, one for each profile.
    """

    name: str
    is_input: bool
    datatype: str
    shape: Shape
    format: str
    memory: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plan as TensorRT loaded it; `activations` are bytes for each profile, `validity` is only told by RTX.

    `layers` are as the plan keeps them: with all details, by name, or not at all; None when they were not asked for.
    """

    name: str
    bindings: tuple[Binding, ...]
    activations: tuple[int, ...]
    layer_count: int
    flags: dict[str, str | int | bool]
    validity: str | None
    layers: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class PlanFile:
    """`loaded` is None where the plan cannot be loaded, for the reason `why_not`."""

    kind: str
    size: int
    built_by: str
    loaded: Loaded | None
    why_not: str | None

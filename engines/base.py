"""Contract between the service and whatever runs a model: anything that can do this is an engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Device = Literal["cpu", "cuda"]

# The entry of an ONNX file's metadata in which `engine-build` records the largest batch, 0 for no batch dimension.
MAX_BATCH_SIZE_KEY = "yais.max_batch_size"
# For a model with a batch dimension that declares no bound: enough to be worth batching, and small buffers.
DEFAULT_MAX_BATCH_SIZE = 8


class EngineError(Exception):
    """An engine file that cannot be served, or a run that failed; the message names the file or tensor and why."""


class InvalidInputError(EngineError):
    """A run that failed because of what a request carries; the message names the input and the bound."""


class DeviceLostError(EngineError):
    """The device that the engine runs on is gone, for all its contexts and until the process is started again."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    `shape` is that of one row: without the batch dimension where the model has one, with -1 for what varies.
    Strings have the dtype `object` (elements are `bytes`).
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape

    @property
    def is_fixed(self) -> bool:
        return -1 not in self.shape


class Run(NamedTuple):
    """What one run took, in nanoseconds.

    `infer_ns`: the engine's own time. `input_ns`, `output_ns`: copies to and from a device, where there is one.
    `padding`: rows that were run besides those asked for.
    """

    infer_ns: int
    input_ns: int = 0
    output_ns: int = 0
    padding: int = 0


class Context(Protocol):
    """One execution at a time, with the buffers of one batch; used by one thread at a time.

    Every buffer has rows as its first axis: `(capacity, *spec.shape)`. The capacity is the largest batch, or 1 when the
    model has no batch dimension. Those of inputs are in C order and the machine's byte order, since rows of numbers are
    copied to where they lie.
    """

    @property
    def inputs(self) -> Mapping[str, Array]: ...

    @property
    def outputs(self) -> Mapping[str, Array]: ...

    def fit(self, shapes: Sequence[Shape]) -> None:
        """Makes each input buffer, in the order of the engine's inputs, hold rows of its entry in `shapes`.

        Called before every run, so it is cheap when nothing changes.
        """

    def execute(self, rows: int) -> Run:
        """Runs the first `rows` rows of `inputs` into the first rows of `outputs`.

        Raises `EngineError` when the run fails; the context can be used again afterwards, unless it is a
        `DeviceLostError`.
        """


class Engine(Protocol):
    """A loaded model; its contexts may run at the same time."""

    @property
    def platform(self) -> str:
        """What Triton calls this kind of model, e.g. `onnxruntime_onnx`."""

    @property
    def device(self) -> str:
        """Where it runs, e.g. `cpu` or `cuda:0`."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def max_batch_size(self) -> int:
        """The most rows in one run; 0 when the model has no batch dimension."""

    @property
    def declares_batch(self) -> bool:
        """Whether the file itself says that its first dimension is a batch; otherwise that is only likely."""

    def create_context(self) -> Context: ...

    def close(self) -> None:
        """Gives back what it has on a device; neither it nor its contexts are used any more."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine is to be opened.

    `contexts`: how many of its runs will go on at once. `runs`: the same for all engines together, among which the
    cores are divided; None when there is no other. `threads`: CPU threads of one run, None to fit the cores.
    `max_batch_size`: an upper bound on the batch; None for the model's own, 0 to serve it without batching.

    `device`: what an ONNX file is run on; plans are always run on a GPU. `devices`: the GPUs, by number, over which the
    contexts are spread. `workspaces`: how many of a GPU's contexts compute at once, each with memory of its own for
    activations; None to choose. `graphs`: whether runs are recorded as CUDA graphs, for a few sizes of batch.
    `plan_cache`: the folder for plans that are built of ONNX files; None for the user's.
    """

    contexts: int = 1
    runs: int | None = None
    threads: int | None = None
    max_batch_size: int | None = None
    device: Device = "cpu"
    devices: tuple[int, ...] = (0,)
    workspaces: int | None = None
    graphs: bool = True
    plan_cache: Path | None = None

"""An engine in numpy that keeps a record of what it is asked to run, and ways to hold it up or make it fail."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from yais.engines import Array, EngineError, Shape, TensorSpec
from yais.engines import Run as Took
from yais.server.models.model import Model, ModelOptions

Serve = Callable[..., Model]

LONG_NS = 10_000_000
# What the rows of an output buffer beyond the batch hold.
GARBAGE = -1

INT64 = np.dtype(np.int64)


@dataclass(frozen=True)
class Run:
    rows: int
    values: list[int]
    on_thread: bool


@dataclass
class FakeEngine:
    """Y is 2 X + 1, row by row. `on_run` sees the rows first, on whatever thread runs them, and may raise or wait.

    `run_ns` is how long each run is said to take: 0 lets the pool run the next ones on the loop. `copies_ns` is what
    copies to and from a device are said to take, and `padding` how many rows each run has besides those asked for.
    """

    inputs: tuple[TensorSpec, ...] = (TensorSpec("X", INT64, (-1,)),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("Y", INT64, (-1,)),)
    max_batch_size: int = 8
    platform: str = "fake_numpy"
    device: str = "cpu"
    declares_batch: bool = True
    run_ns: Callable[[], int] = lambda: LONG_NS
    copies_ns: tuple[int, int] = (0, 0)
    padding: int = 0
    on_run: Callable[[Array], None] = lambda rows: None
    runs: list[Run] = field(default_factory=list)
    contexts: list["FakeContext"] = field(default_factory=list)
    overlaps: int = 0
    closed: int = 0

    def create_context(self) -> "FakeContext":
        self.contexts.append(FakeContext(self))
        return self.contexts[-1]

    def close(self) -> None:
        self.closed += 1


class FakeContext:
    """Outputs of fixed shape stay in one buffer, others are new arrays; rows beyond the batch are made wrong."""

    def __init__(self, engine: FakeEngine) -> None:
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        self._engine = engine
        self._capacity = max(1, engine.max_batch_size)
        self._busy = threading.Lock()

    def fit(self, shapes: Sequence[Shape]) -> None:
        for spec, shape in zip(self._engine.inputs, shapes, strict=True):
            full = (self._capacity, *shape)
            if spec.name not in self.inputs or self.inputs[spec.name].shape != full:
                self.inputs[spec.name] = np.zeros(full, spec.dtype)

    def execute(self, rows: int) -> Took:
        if not self._busy.acquire(blocking=False):
            self._engine.overlaps += 1
            raise EngineError("two threads use one context")
        try:
            values = self.inputs["X"][:rows]
            on_thread = threading.current_thread() is not threading.main_thread()
            self._engine.runs.append(Run(rows, values.ravel().tolist(), on_thread))
            self._engine.on_run(values)
            self._store(2 * self.inputs["X"] + 1, rows)
            return Took(self._engine.run_ns(), *self._engine.copies_ns, self._engine.padding)
        finally:
            self._busy.release()

    def _store(self, result: Array, rows: int) -> None:
        result[rows:] = GARBAGE
        if not self._engine.outputs[0].is_fixed:
            self.outputs["Y"] = result[:rows]
        elif "Y" in self.outputs:
            self.outputs["Y"][...] = result
        else:
            self.outputs["Y"] = result


class Gate:
    """Holds up every run until it is opened; `entered` counts the runs that came to it, `most` how many at once."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()
        self._opened = threading.Event()

    def pass_through(self, rows: Array) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        self.entered.release()
        assert self._opened.wait(30)
        with self._lock:
            self._inside -= 1

    def wait_for_runs(self, number: int) -> None:
        """Waits, without a tick of the loop, until `number` more runs have come to the gate."""
        for _ in range(number):
            assert self.entered.acquire(timeout=30)

    def open(self) -> None:
        self._opened.set()


def refuse_negative_rows(rows: Array) -> None:
    if (rows < 0).any():
        raise EngineError("a row is negative")


def fixed(width: int) -> dict[str, tuple[TensorSpec, ...]]:
    """The tensors of a FakeEngine whose rows have `width` elements."""
    return {"inputs": (TensorSpec("X", INT64, (width,)),), "outputs": (TensorSpec("Y", INT64, (width,)),)}


def options(contexts: int = 1, buffers: int | None = None, delay: int = 0, queue: int = 1024) -> ModelOptions:
    return ModelOptions(contexts, contexts + 2 if buffers is None else buffers, delay, queue)

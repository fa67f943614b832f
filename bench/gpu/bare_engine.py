"""Bare engines on GPU 0, without a server: a thread for each context runs the same batch again and again.

    python -m bench.gpu.bare_engine ENGINE CONTEXTS GRAPHS PAGE_LOCKED

Reads lines of ROWS and MILLISECONDS, runs batches of so many rows for so long, and answers with an
`EngineTiming` in JSON.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from threading import Barrier
from time import perf_counter_ns

import numpy as np

from bench.measure import BenchError, Child, launched, uncollected
from yais.engines import Array, Context, Engine, EngineError, EngineOptions, open_engine
from yais.engines.cuda.device import open_device
from yais.engines.cuda.driver import CudaDriver

_MIB = 2**20

# Runs of each thread: the first of a size may compile or capture something.
_WARM_UP = 3
# Kernels of another size of batch add up in another order.
_TOLERANCE = 2e-2


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """How an engine is run: so many contexts, with CUDA graphs or without, from memory that is page-locked or not."""

    contexts: int = 4
    graphs: bool = True
    page_locked: bool = True

    def flags(self) -> list[str]:
        """For the programs that take a setup; `of` reads them."""
        return [f"{self.contexts}", f"{self.graphs:d}", f"{self.page_locked:d}"]

    @classmethod
    def of(cls, flags: Sequence[str]) -> "EngineSetup":
        contexts, graphs, page_locked = map(int, flags)
        return cls(contexts, bool(graphs), bool(page_locked))


class Pageable(CudaDriver):
    """CUDA that is told of no memory on the host, which it then has to copy from in pieces."""

    def pin(self, pages: Array) -> None:
        pass

    def unpin(self, pages: Array) -> None:
        pass


def open_on_gpu(path: Path, setup: EngineSetup) -> Engine:
    """Raises `EngineError`."""
    device = open_device(0)
    if not setup.page_locked:
        device.cuda = Pageable()
    return open_engine(path, EngineOptions(setup.contexts, device="cuda", graphs=setup.graphs))


def filled(engine: Engine) -> Context:
    """A context whose inputs are random numbers, the same for all."""
    context = engine.create_context()
    context.fit([spec.shape for spec in engine.inputs])
    for buffer in context.inputs.values():
        buffer[:] = noise(buffer.shape, buffer.dtype)
    return context


def noise(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    """Pixels, or floats in [0, 1)."""
    rng = np.random.default_rng(0)
    if dtype.kind in "iu":
        # 100 fits INT8, too.
        return rng.integers(0, 256 if dtype == np.uint8 else 100, shape, dtype)
    return rng.random(shape, np.float32).astype(dtype)


def used_mib() -> float:
    """What is taken of the memory of GPU 0, by whomever."""
    driver = import_module("pycuda.driver")
    with open_device(0):
        free, total = driver.mem_get_info()
    return float(total - free) / _MIB


@dataclass(frozen=True, slots=True)
class EngineTiming:
    """`rate` is in rows a second. A run takes `p50_ms` and `p99_ms`, copies and waiting included, `engine_ms` without.

    `device_mib` is what the engine takes on the GPU by then, `padding` the rows a run computes besides those wanted.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    engine_ms: float
    device_mib: float
    padding: float
    runs: int


@dataclass(frozen=True, slots=True)
class ThreadRuns:
    """What one thread did: when it began and ended, and its runs, all in nanoseconds."""

    began: int
    ended: int
    took: list[int]
    engine: list[int]
    padding: int


def main(path: Path, setup: EngineSetup) -> None:
    # What others have on the GPU, and CUDA's own context, is not the engine's.
    before = used_mib()
    engine = open_on_gpu(path, setup)
    contexts = [filled(engine) for _ in range(setup.contexts)]
    print("ready", flush=True)
    while line := sys.stdin.readline():
        rows, milliseconds = line.split()
        timing = drive(contexts, int(rows), float(milliseconds) / 1e3, before)
        print(json.dumps(asdict(timing)), flush=True)


def drive(contexts: Sequence[Context], rows: int, seconds: float, before: float) -> EngineTiming:
    """Raises `BenchError` when the contexts do not come to the same."""
    barrier = Barrier(len(contexts))
    with uncollected(), ThreadPoolExecutor(len(contexts)) as pool:
        threads = list(pool.map(lambda context: _run_repeatedly(context, rows, seconds, barrier), contexts))
    _compare(contexts, rows)
    return _timing(threads, rows, used_mib() - before)


def _run_repeatedly(context: Context, rows: int, seconds: float, barrier: Barrier) -> ThreadRuns:
    try:
        for _ in range(_WARM_UP):
            context.execute(rows)
        # Timing begins when all are warm: until then some contexts have the GPU to themselves.
        barrier.wait()
    except BaseException:
        # The other threads would wait for this one for ever.
        barrier.abort()
        raise
    took: list[int] = []
    engine: list[int] = []
    padding = 0
    now = began = perf_counter_ns()
    until = began + int(seconds * 1e9)
    while now < until:
        run = context.execute(rows)
        # One reading of the clock between two runs, so that no time is lost between them.
        before, now = now, perf_counter_ns()
        took.append(now - before)
        engine.append(run.infer_ns)
        padding += run.padding
    return ThreadRuns(began, now, took, engine, padding)


def _timing(threads: Sequence[ThreadRuns], rows: int, mib: float) -> EngineTiming:
    took = np.concatenate([thread.took for thread in threads]) / 1e6
    engine = np.concatenate([thread.engine for thread in threads]) / 1e6
    # The threads end within one run of each other.
    seconds = (max(thread.ended for thread in threads) - min(thread.began for thread in threads)) / 1e9
    p50, p99 = np.percentile(took, (50, 99))
    padding = sum(thread.padding for thread in threads) / len(took)
    return EngineTiming(rows * len(took) / seconds, p50, p99, float(np.median(engine)), mib, padding, len(took))


def _compare(contexts: Sequence[Context], rows: int) -> None:
    """All contexts were given the same."""
    answers = [output[:rows].astype(np.float32) for context in contexts for output in context.outputs.values()]
    scale = float(np.abs(answers[0]).max())
    for answer in answers:
        if not np.isfinite(answer).all() or np.abs(answer - answers[0]).max() > _TOLERANCE * scale:
            raise BenchError("contexts that run at the same time come to different answers")


@dataclass(frozen=True, slots=True)
class BareEngine:
    """An engine that is open, and has nothing to do but when it is asked."""

    child: Child

    def __call__(self, rows: int, milliseconds: float) -> EngineTiming:
        """Raises `BenchError`."""
        self.child.say(f"{rows} {milliseconds}")
        return EngineTiming(**json.loads(self.child.hear()))


@contextmanager
def bare_engine(path: Path, setup: EngineSetup) -> Iterator[BareEngine]:
    """Raises `BenchError` with why the engine cannot be opened."""
    command = [sys.executable, "-m", "bench.gpu.bare_engine", str(path), *setup.flags()]
    with launched(f"{path.name} by itself", command, None) as child:
        child.hear()
        yield BareEngine(child)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), EngineSetup.of(sys.argv[2:]))
    except (BenchError, EngineError) as error:
        sys.exit(str(error))

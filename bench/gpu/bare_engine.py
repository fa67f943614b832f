"""The bare engine: its contexts, each driven by a thread that runs the same batch again and again.

    python -m bench.gpu.bare_engine ENGINE CONTEXTS GRAPHS PAGE_LOCKED

Reads lines of ROWS and MILLISECONDS, runs batches of so many rows for so long, and answers with a `Timing` in JSON.
"""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Barrier
from time import perf_counter_ns

import numpy as np

from bench.gpu.opening import Way, filled, open_on_gpu, used_mib
from bench.measure import BenchError, uncollected
from yais.engines import Array, Context, EngineError

_WARM_UP = 3
# Kernels of another size of batch add up in another order.
_TOLERANCE = 2e-2


@dataclass(frozen=True, slots=True)
class Timing:
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
class Stint:
    """What one thread did: when it began and ended, and its runs, all in nanoseconds."""

    began: int
    ended: int
    took: list[int]
    engine: list[int]
    padding: int


def main(path: Path, way: Way) -> None:
    before = used_mib()
    engine = open_on_gpu(path, way)
    contexts = [filled(engine) for _ in range(way.contexts)]
    print("ready", flush=True)
    while line := sys.stdin.readline():
        rows, milliseconds = line.split()
        timing = drive(contexts, int(rows), float(milliseconds) / 1e3, before)
        print(json.dumps(asdict(timing)), flush=True)


def drive(contexts: Sequence[Context], rows: int, seconds: float, before: float) -> Timing:
    """Raises `BenchError` when the contexts do not come to the same."""
    barrier = Barrier(len(contexts))
    with uncollected(), ThreadPoolExecutor(len(contexts)) as pool:
        stints = list(pool.map(lambda context: _work(context, rows, seconds, barrier), contexts))
    _compare([_answer(context, rows) for context in contexts])
    return _timing(stints, rows, used_mib() - before)


def _work(context: Context, rows: int, seconds: float, barrier: Barrier) -> Stint:
    try:
        for _ in range(_WARM_UP):
            context.execute(rows)
        barrier.wait()
    except BaseException:
        barrier.abort()
        raise
    took: list[int] = []
    engine: list[int] = []
    padding = 0
    now = began = perf_counter_ns()
    until = began + int(seconds * 1e9)
    while now < until:
        run = context.execute(rows)
        before, now = now, perf_counter_ns()
        took.append(now - before)
        engine.append(run.infer_ns)
        padding += run.padding
    return Stint(began, now, took, engine, padding)


def _timing(stints: Sequence[Stint], rows: int, mib: float) -> Timing:
    took = np.concatenate([stint.took for stint in stints]) / 1e6
    engine = np.concatenate([stint.engine for stint in stints]) / 1e6
    seconds = (max(stint.ended for stint in stints) - min(stint.began for stint in stints)) / 1e9
    p50, p99 = np.percentile(took, (50, 99))
    padding = sum(stint.padding for stint in stints) / len(took)
    return Timing(rows * len(took) / seconds, p50, p99, float(np.median(engine)), mib, padding, len(took))


def _answer(context: Context, rows: int) -> Array:
    (output,) = context.outputs.values()
    return output[:rows].astype(np.float32)


def _compare(answers: Sequence[Array]) -> None:
    """All contexts were given the same."""
    scale = float(np.abs(answers[0]).max())
    for answer in answers:
        if not np.isfinite(answer).all() or np.abs(answer - answers[0]).max() > _TOLERANCE * scale:
            raise BenchError("contexts that run at the same time come to different answers")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Way.of(sys.argv[2:]))
    except (BenchError, EngineError) as error:
        sys.exit(str(error))

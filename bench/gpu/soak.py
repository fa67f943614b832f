"""Soak: memory over many requests to a server on the GPU, and over engines that are opened and closed.

    python -m bench.gpu.soak ENGINE CONTEXTS GRAPHS PAGE_LOCKED

Reads lines of COUNT, opens, runs and closes the engine so often, and answers with the `MemoryUsed` after it in JSON.
"""

import gc
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from bench.gpu.bare_engine import EngineSetup, filled, open_on_gpu, used_mib
from bench.gpu.machine import find_gpu, memory_mib
from bench.gpu.networks import Network, engine_file
from bench.gpu.serving import Deployment, calling, classify, served
from bench.measure import Benchmark, NotInstalledError, Size, launched
from bench.rounds import measure_each
from yais.engines import EngineError

NETWORK = Network("efficientnet-lite0", "fp16")
CONTEXTS, MAX_BATCH = 4, 32
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class MemoryUsed:
    """Memory on the GPU, by whomever, and of this process on the host; in MiB."""

    device: float
    host: float


def main(path: Path, setup: EngineSetup) -> None:
    print("ready", flush=True)
    while line := sys.stdin.readline():
        for _ in range(int(line)):
            cycle(path, setup)
        taken = MemoryUsed(used_mib(), psutil.Process().memory_info().rss / _MIB)
        print(json.dumps(asdict(taken)), flush=True)


def cycle(path: Path, setup: EngineSetup) -> None:
    engine = open_on_gpu(path, setup)
    rows = max(1, min(8, engine.max_batch_size))
    for context in [filled(engine) for _ in range(setup.contexts)]:
        context.execute(rows)
    # ONNX Runtime's sessions have no end but that nobody has them any more.
    close = getattr(engine, "close", None)
    if close is not None:
        close()
    del engine, context
    # Objects in reference cycles would keep device memory until the collector comes by itself.
    gc.collect()


@dataclass(frozen=True, slots=True)
class SoakRow:
    """`count` steps of `unit`; memory in MiB after each, and `slope` by a thousand steps, from the first tenth on."""

    case: str
    name: str
    unit: str
    count: int
    device: tuple[float, ...]
    host: tuple[float, ...]
    device_slope: float
    host_slope: float


def run_soak(size: Size) -> list[SoakRow]:
    find_gpu()
    kinds: dict[str, Callable[[Size], SoakRow]] = {"requests": _serve_requests, "opening and closing": _open_and_close}
    return measure_each(kinds, lambda kind: [kinds[kind](size)], str)


def _serve_requests(size: Size) -> SoakRow:
    """A server that is always busy; raises `NotInstalledError` where nothing tells of the GPU's memory."""
    case, counts, taken = Deployment(NETWORK, CONTEXTS, MAX_BATCH), [0], []
    # Twice what the contexts run at once, so that there always is a batch to be filled.
    with served(case) as server, calling(server, classify(NETWORK, 1), 2 * CONTEXTS * MAX_BATCH) as callers:
        for _ in range(size.rounds):
            answered = callers(size.requests)
            # NVML counts all processes, so nothing else should use the GPU.
            device = memory_mib()
            if device is None:
                raise NotInstalledError("NVML: it does not tell the GPU's memory")
            counts.append(counts[-1] + answered.requests)
            taken.append(MemoryUsed(device, server.rss() / _MIB))
    return _row(case.title, "requests", counts[1:], taken)


def _open_and_close(size: Size) -> SoakRow:
    setup = EngineSetup(CONTEXTS)
    command = [sys.executable, "-m", "bench.gpu.soak", str(engine_file(NETWORK)), *setup.flags()]
    with launched("the cycles", command, None) as child:
        child.hear()
        taken = []
        for _ in range(size.rounds):
            # A cycle at a time, for there is a figure after each.
            child.say("1")
            taken.append(MemoryUsed(**json.loads(child.hear())))
    title = f"{NETWORK.title}, {CONTEXTS} contexts, opened, run and closed"
    return _row(title, "cycles", list(range(1, size.rounds + 1)), taken)


def _row(case: str, unit: str, counts: Sequence[int], taken: Sequence[MemoryUsed]) -> SoakRow:
    device, host = tuple(one.device for one in taken), tuple(one.host for one in taken)
    slopes = (_slope(counts, device), _slope(counts, host))
    return SoakRow(case, find_gpu().runtime, unit, counts[-1], device, host, *slopes)


def _slope(counts: Sequence[int], memory: Sequence[float]) -> float:
    # At first memory grows as that of any program does.
    settled = max(1, len(counts) // 10)
    slope, _ = np.polyfit(counts[settled:], memory[settled:], 1)
    return float(slope) * 1_000


BENCHMARKS = {
    # Requests are milliseconds of a server under load here, and there are as many cycles as rounds.
    "gpu-soak": Benchmark(run_soak, short=Size(rounds=20, requests=2_000), full=Size(rounds=200, requests=18_000)),
}


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), EngineSetup.of(sys.argv[2:]))
    except EngineError as error:
        sys.exit(str(error))

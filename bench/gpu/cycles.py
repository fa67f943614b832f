"""An engine that is opened, run and closed, again and again.

    python -m bench.gpu.cycles ENGINE CONTEXTS GRAPHS PAGE_LOCKED

Reads lines of COUNT, goes through so many cycles, and answers with the `Taken` after them in JSON.
"""

import gc
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench.gpu.opening import Way, filled, open_on_gpu, used_mib
from yais.engines import EngineError

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Taken:
    """Memory on the GPU, by whomever, and of this process on the host; in MiB."""

    device: float
    host: float


def main(path: Path, way: Way) -> None:
    print("ready", flush=True)
    while line := sys.stdin.readline():
        for _ in range(int(line)):
            cycle(path, way)
        taken = Taken(used_mib(), psutil.Process().memory_info().rss / _MIB)
        print(json.dumps(asdict(taken)), flush=True)


def cycle(path: Path, way: Way) -> None:
    engine = open_on_gpu(path, way)
    rows = max(1, min(8, engine.max_batch_size))
    for context in [filled(engine) for _ in range(way.contexts)]:
        context.execute(rows)
    # ONNX Runtime's sessions have no end but that nobody has them any more.
    close = getattr(engine, "close", None)
    if close is not None:
        close()
    del engine, context
    gc.collect()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Way.of(sys.argv[2:]))
    except EngineError as error:
        sys.exit(str(error))

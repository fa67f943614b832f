"""What an engine on the GPU makes of pictures.

    python -m bench.gpu.answers ENGINE PICTURES ANSWERS

PICTURES is an .npy file of all of them; their outputs go to ANSWERS, another.
"""

import sys
from pathlib import Path

import numpy as np

from bench.gpu.opening import Way, open_on_gpu
from yais.engines import Array, Engine, EngineError

BATCH = 16


def answers(engine: Engine, pictures: Array) -> Array:
    """The only output of each, computed in batches."""
    context = engine.create_context()
    context.fit([spec.shape for spec in engine.inputs])
    size, parts = min(BATCH, engine.max_batch_size), []
    for start in range(0, len(pictures), size):
        batch = pictures[start : start + size]
        (buffer,) = context.inputs.values()
        buffer[: len(batch)] = batch
        context.execute(len(batch))
        (output,) = context.outputs.values()
        parts.append(output[: len(batch)].astype(np.float32))
    return np.concatenate(parts)


if __name__ == "__main__":
    path, source, target = map(Path, sys.argv[1:])
    try:
        np.save(target, answers(open_on_gpu(path, Way(1)), np.load(source)))
    except EngineError as error:
        sys.exit(str(error))

"""Accuracy of engines on the GPU, beside ONNX Runtime on the CPU in FP32, on pieces of photographs.

    python -m bench.gpu.accuracy ENGINE PICTURES ANSWERS

PICTURES is an .npy file of all of them; the outputs of ENGINE on the GPU go to ANSWERS, another.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.gpu.bare_engine import EngineSetup, open_on_gpu
from bench.gpu.machine import find_gpu
from bench.gpu.networks import NAMES, PRECISIONS, Network, engine_file, onnx_file, photographs, pieces
from bench.measure import ROOT, BenchError, Benchmark, Size
from bench.rounds import Bound, measure_each
from yais.clients.inputs.images import crop
from yais.engines import Array, Engine, EngineError, EngineOptions, open_engine

BATCH = 16

_SIDE = 224
# For FP32 and FP16; INT8 is judged by its best class.
_CLOSE = Bound("at most", 1e-2)
_AGREEING = Bound("at least", 0.97)


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
        # A copy: the next run overwrites the buffer.
        parts.append(output[: len(batch)].astype(np.float32))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """`error` is the largest difference of any logit, as a share of the largest logit of its picture.

    `probability_error` is the largest difference of any class's probability.
    `agreement` is the share of pictures with the same best class, of which there are `classes`: with weights that were
    drawn, as ResNet-50's, they hardly differ, and that says little.
    """

    case: str
    name: str
    photographs: int
    pictures: int
    classes: int
    error: float
    error_bound: Bound | None
    probability_error: float
    agreement: float
    agreement_bound: Bound | None


def run_accuracy(size: Size) -> list[AccuracyRow]:
    find_gpu()
    pictures = np.stack([crop(path, _SIDE, _SIDE) for path in sorted(pieces("judgement", size.requests).iterdir())])
    on_cpu = EngineOptions(max_batch_size=BATCH)
    expected = {name: answers(open_engine(onnx_file(Network(name, "fp32")), on_cpu), pictures) for name in NAMES}
    networks = [Network(name, precision) for name, precision in product(NAMES, PRECISIONS)]
    return measure_each(networks, lambda one: _judge(one, pictures, expected[one.name]), lambda one: one.title)


def _judge(network: Network, pictures: Array, expected: Array) -> Iterator[AccuracyRow]:
    logits = _on_gpu(engine_file(network), pictures)
    errors = np.abs(logits - expected).max(axis=1) / np.abs(expected).max(axis=1)
    best = expected.argmax(axis=1)
    is_quantised, is_trained = network.precision == "int8", network.name != "resnet50"
    yield AccuracyRow(
        network.title,
        find_gpu().runtime,
        len(photographs()),
        len(pictures),
        classes=len(set(best.tolist())),
        error=float(errors.max()),
        error_bound=None if is_quantised else _CLOSE,
        probability_error=float(np.abs(_softmax(logits) - _softmax(expected)).max()),
        agreement=float((logits.argmax(axis=1) == best).mean()),
        agreement_bound=_AGREEING if is_quantised and is_trained else None,
    )


def _softmax(logits: Array) -> Array:
    # Without subtracting the largest, exp could overflow.
    powers: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _on_gpu(path: Path, pictures: Array) -> Array:
    """In a process of its own. Raises `BenchError` with why not."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "pictures.npy"), Path(folder, "answers.npy")
        np.save(source, pictures)
        # Each engine's device memory is free again when its process ends.
        command = [sys.executable, "-m", "bench.gpu.accuracy", str(path), str(source), str(target)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"{path.name}: {done.stderr.strip()}")
        made: Array = np.load(target)
    return made


BENCHMARKS = {
    # Requests are pictures here.
    "gpu-accuracy": Benchmark(run_accuracy, short=Size(rounds=1, requests=64), full=Size(rounds=1, requests=1_000)),
}


if __name__ == "__main__":
    path, source, target = map(Path, sys.argv[1:])
    try:
        np.save(target, answers(open_on_gpu(path, EngineSetup(1)), np.load(source)))
    except EngineError as error:
        sys.exit(str(error))

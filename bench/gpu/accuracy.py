"""Whether engines on the GPU come to what ONNX Runtime on the CPU does in FP32, on pieces of photographs."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.closed_loop import Array
from bench.gpu.answers import BATCH, answers
from bench.gpu.bare import each
from bench.gpu.machine import find_gpu
from bench.gpu.networks import NAMES, PRECISIONS, Network, engine_file, onnx_file
from bench.gpu.photographs import photographs, pieces
from bench.measure import ROOT, BenchError, Size
from bench.rounds import Bound
from yais.clients.inputs.images import crop
from yais.engines import EngineOptions, open_engine

# Requests are pictures here.
SHORT = Size(rounds=1, requests=64)
FULL = Size(rounds=1, requests=1_000)

_SIDE = 224
_CLOSE = Bound("at most", 1e-2)
_AGREEING = Bound("at least", 0.97)


@dataclass(frozen=True, slots=True)
class Row:
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


def run(size: Size) -> list[Row]:
    find_gpu()
    pictures = np.stack([crop(path, _SIDE, _SIDE) for path in sorted(pieces("judgement", size.requests).iterdir())])
    expected = {name: _on_cpu(Network(name, "fp32"), pictures) for name in NAMES}
    networks = [Network(name, precision) for name, precision in product(NAMES, PRECISIONS)]
    return each(networks, lambda one: _compare(one, pictures, expected[one.name]), lambda one: one.title)


def _compare(network: Network, pictures: Array, expected: Array) -> Iterator[Row]:
    logits = _on_gpu(engine_file(network), pictures)
    errors = np.abs(logits - expected).max(axis=1) / np.abs(expected).max(axis=1)
    best = expected.argmax(axis=1)
    is_quantised, is_trained = network.precision == "int8", network.name != "resnet50"
    yield Row(
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
    powers: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _on_cpu(network: Network, pictures: Array) -> Array:
    return answers(open_engine(onnx_file(network), EngineOptions(max_batch_size=BATCH)), pictures)


def _on_gpu(path: Path, pictures: Array) -> Array:
    """In a process of its own. Raises `BenchError` with why not."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "pictures.npy"), Path(folder, "answers.npy")
        np.save(source, pictures)
        command = [sys.executable, "-m", "bench.gpu.answers", str(path), str(source), str(target)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"{path.name}: {done.stderr.strip()}")
        made: Array = np.load(target)
    return made

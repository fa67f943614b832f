"""The networks that are measured, as files: ONNX in each precision, and the plans that this GPU's TensorRT makes."""

import re
import subprocess
from pathlib import Path
from typing import Literal, NamedTuple

from bench.gpu.machine import find_gpu
from bench.gpu.photographs import pieces
from bench.measure import BUILD, BenchError, script

Name = Literal["resnet50", "efficientnet-lite0"]
Precision = Literal["fp32", "fp16", "int8"]

NAMES: tuple[Name, ...] = ("resnet50", "efficientnet-lite0")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
MAX_BATCH = 128
PICTURE = (224, 224, 3)

CALIBRATION = 128
# A profile for single pictures and small batches, and one for the others.
_RANGES = ((1, 4, 8), (9, 64, MAX_BATCH))
_BOUNDS = ("min", "opt", "max")
_FOLDER = BUILD / "gpu"


class Network(NamedTuple):
    """A classifier of UINT8 pictures (N, 224, 224, 3) in one precision."""

    name: Name
    precision: Precision

    @property
    def title(self) -> str:
        return f"{self.name} {self.precision.upper()}"


def engine_file(network: Network) -> Path:
    """What is served on the GPU: a plan, or the ONNX file where ONNX Runtime runs it.

    Raises `BenchError` where it cannot be built, and `NotInstalledError` for what that needs.
    """
    gpu, model = find_gpu(), onnx_file(network)
    if gpu.kind is None:
        return model
    key = re.sub(r"[^\w.]+", "-", f"{gpu.runtime} {gpu.capability}".lower())
    path = _FOLDER / f"{network.name}-{network.precision}-{key}.engine"
    if not path.exists():
        ranges = [f"--{bound}-batch={rows}" for each in _RANGES for bound, rows in zip(_BOUNDS, each, strict=True)]
        target = ["--capability", "current"] if gpu.kind == "tensorrt-rtx" else []
        _build(str(model), "-o", str(path), "--tensorrt", gpu.kind, *ranges, *target)
    return path


def onnx_file(network: Network) -> Path:
    """The network for ONNX Runtime, in the precision that is asked for."""
    path = _FOLDER / f"{network.name}-{network.precision}.onnx"
    if path.exists():
        return path
    _FOLDER.mkdir(parents=True, exist_ok=True)
    if network.precision == "fp32":
        _make(network.name, path)
    else:
        samples = pieces("calibration", CALIBRATION) if network.precision == "int8" else None
        calibration = ["--calibrate", str(samples)] if samples else []
        source = onnx_file(Network(network.name, "fp32"))
        _build(str(source), "-o", str(path), "--precision", network.precision, *calibration)
    return path


def _make(name: Name, path: Path) -> None:
    if name == "resnet50":
        from bench.gpu.pixels import resnet50

        path.write_bytes(resnet50(MAX_BATCH))
    else:
        _build(name, "--input", "uint8", "--max-batch", str(MAX_BATCH), "-o", str(path))


def _build(*arguments: str) -> None:
    done = subprocess.run([script("engine-build"), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"engine-build {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")

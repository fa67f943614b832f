"""Networks that are measured, as files: ONNX in each precision, and the plans that this GPU's TensorRT makes.

They are calibrated and judged on pieces of photographs: those in the folder that YAIS_BENCH_PICTURES names, or else the
demo's and the ones that scikit-image and scikit-learn bring, where they are installed.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bench.gpu.machine import find_gpu
from bench.measure import BUILD, ROOT, BenchError, NotInstalledError, script

Purpose = Literal["calibration", "judgement"]

_PIECE_SIDE = 256
# Other seeds cut other pieces, so that no picture is both calibrated on and judged.
_SEEDS: dict[Purpose, int] = {"calibration": 0, "judgement": 1}
_SUFFIXES = (".jpg", ".jpeg", ".png")
# Of what these packages bring, what is a photograph in colours.
_BROUGHT = {
    "skimage": ("data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/rocket.jpg"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}

NetworkName = Literal["resnet50", "efficientnet-lite0"]
Precision = Literal["fp32", "fp16", "int8"]

NAMES: tuple[NetworkName, ...] = ("resnet50", "efficientnet-lite0")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
MAX_BATCH = 128
PICTURE = (224, 224, 3)

CALIBRATION = 128
# A profile for single pictures and small batches, and one for the others.
_RANGES = ((1, 4, 8), (9, 64, MAX_BATCH))
_BOUNDS = ("min", "opt", "max")
_FOLDER = BUILD / "gpu"

_SOURCE = "input"


def pieces(purpose: Purpose, count: int) -> Path:
    """A folder of `count` pictures, of about as many of each photograph; those of the two purposes are different."""
    sources = photographs()
    folder = _FOLDER / f"{purpose}-{count}-of-{len(sources)}"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(_SEEDS[purpose])
        for index in range(count):
            _cut(sources[index % len(sources)], rng).save(part / f"{index:04}.png")
        # At once, so that a run that was interrupted leaves no folder with fewer pictures.
        part.rename(folder)
    return folder


def photographs() -> list[Path]:
    """Raises `NotInstalledError` where there is nothing to read them with."""
    if not find_spec("PIL"):
        raise NotInstalledError("Pillow: not installed (pip install 'yais[picture]')")
    named = os.environ.get("YAIS_BENCH_PICTURES")
    if not named:
        return list(_brought())
    found = sorted(path for path in Path(named).rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise NotInstalledError(f"YAIS_BENCH_PICTURES: {named} has no pictures ({', '.join(_SUFFIXES)})")
    return found


def _brought() -> Iterator[Path]:
    yield ROOT / "demo" / "coffee.jpg"
    for package, files in _BROUGHT.items():
        spec = find_spec(package)
        if spec and spec.origin:
            paths = (Path(spec.origin).parent / file for file in files)
            yield from (path for path in paths if path.exists())


def _cut(path: Path, rng: np.random.Generator) -> Any:
    """A square somewhere in the photograph, from a third of its shorter side to all of that, mirrored or not."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        picture = image.convert("RGB")
    side = int(min(picture.size) * rng.uniform(1 / 3, 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
    piece = picture.resize((_PIECE_SIDE, _PIECE_SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    return ImageOps.mirror(piece) if rng.random() < 0.5 else piece


class Network(NamedTuple):
    """A classifier of UINT8 pictures (N, 224, 224, 3) in one precision."""

    name: NetworkName
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
    # Plans fit only the library and the kind of GPU that they were built for.
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


def _make(name: NetworkName, path: Path) -> None:
    if name == "resnet50":
        path.write_bytes(_resnet50(MAX_BATCH))
    else:
        _build(name, "--input", "uint8", "--max-batch", str(MAX_BATCH), "-o", str(path))


def _build(*arguments: str) -> None:
    done = subprocess.run([script("engine-build"), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"engine-build {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")


def _resnet50(max_batch_size: int) -> bytes:
    """From UINT8 (N, 224, 224, 3), each pixel x as (x - 127) / 128, as EfficientNet-Lite0 takes them."""
    import onnx
    from onnx import TensorProto, helper

    from yais.engines.zoo.catalogue import CATALOGUE

    model = onnx.load_from_string(CATALOGUE["resnet50"].build(max_batch_size, {}))
    for node in model.graph.node:
        node.input[:] = ["normalised" if name == _SOURCE else name for name in node.input]
    shape: list[int | str | None] = ["batch", *PICTURE]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(_SOURCE, TensorProto.UINT8, shape))
    # TensorRT lets nothing but a cast read a UINT8 input.
    nodes = [
        helper.make_node("Cast", [_SOURCE], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=(0, 3, 1, 2)),
        helper.make_node("Sub", ["planes", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["normalised"]),
    ]
    # ONNX wants the nodes of a graph in the order in which they depend on each other.
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    for name, value in (("mean", 127.0), ("scale", 1 / 128)):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    return bytes(model.SerializeToString(deterministic=True))

"""Pictures to calibrate on, and others to judge by: pieces of the photographs that are found.

They are those in the folder that YAIS_BENCH_PICTURES names; otherwise the demo's, and the ones that scikit-image and
scikit-learn bring, where they are installed.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.measure import BUILD, ROOT, NotInstalledError

Purpose = Literal["calibration", "judgement"]

_SIDE = 256
_SEEDS: dict[Purpose, int] = {"calibration": 0, "judgement": 1}
_SUFFIXES = (".jpg", ".jpeg", ".png")
# Of what these packages bring, what is a photograph in colours.
_BROUGHT = {
    "skimage": ("data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/rocket.jpg"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}


def pieces(purpose: Purpose, count: int) -> Path:
    """A folder of `count` pictures, of about as many of each photograph; those of the two purposes are different."""
    sources = photographs()
    folder = BUILD / "gpu" / f"{purpose}-{count}-of-{len(sources)}"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(_SEEDS[purpose])
        for index in range(count):
            _cut(sources[index % len(sources)], rng).save(part / f"{index:04}.png")
        part.rename(folder)
    return folder


def photographs() -> list[Path]:
    """Raises `NotInstalledError` where there is nothing to read them with."""
    if not find_spec("PIL"):
        raise NotInstalledError("Pillow: not installed (pip install 'yais[picture]')")
    named = os.environ.get("YAIS_BENCH_PICTURES")
    found = list(_in(Path(named)) if named else _brought())
    if not found:
        raise NotInstalledError(f"YAIS_BENCH_PICTURES: {named} has no pictures ({', '.join(_SUFFIXES)})")
    return found


def _in(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)


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
    piece = picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    return ImageOps.mirror(piece) if rng.random() < 0.5 else piece

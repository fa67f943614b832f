"""Plans in a cache: how many were built, what lies in the folder, and what may happen to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from engines.tensorrt.plans import FEATURES, on_cpu, rows_of
from onnx import helper

from engines import models
from yais.engines import Engine

OUT_OF_MEMORY, ILLEGAL_ADDRESS = 2, 700
Open = Callable[..., Engine]


def builds(simulation: Any) -> int:
    """How many plans this machine has built."""
    return len(simulation.machine().named("build"))


def plans(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.engine"))


def leftovers(folder: Path) -> list[str]:
    """What lies in the folder but plans and their locks."""
    return [path.name for path in folder.iterdir() if path.suffix not in (".engine", ".lock")]


def run(engine: Engine) -> None:
    """Runs three rows of random numbers, and sees that the answers are right."""
    context = engine.create_context()
    context.fit(((FEATURES,),))
    context.inputs["INPUT0"][:3] = rows_of(3)
    context.execute(3)
    np.testing.assert_allclose(context.outputs["OUTPUT0"][:3], on_cpu(rows_of(3)), atol=1e-5)


def with_data_beside(path: Path, location: str) -> Path:
    """Y is X + W; W lies in another file."""
    node = helper.make_node("Add", ["X", "W"], ["Y"])
    ends = [("X", models.FLOAT, ["N", 2])], [("Y", models.FLOAT, ["N", 2])]
    models.save(path, [node], *ends, W=np.array([1, 2], np.float32))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def make_unwritable(folder: Path) -> None:
    """As far as that can be done to a superuser: nothing can be locked."""
    (plan,) = plans(folder)
    lock = plan.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()


def damage(plan: Path, how: str) -> None:
    data = plan.read_bytes()
    match how:
        case "truncated":
            data = data[: len(data) // 2]
        case "empty":
            data = b""
        case "garbage":
            data = bytes(len(data))
        case "one bit":
            data = data[:-1] + bytes([data[-1] ^ 1])
        case "another version":
            data = data[:24] + bytes([10, 3, 0, 26]) + data[28:]
    plan.write_bytes(data)

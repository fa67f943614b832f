"""Models opened as plans on a simulated GPU and as ONNX files on the CPU."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from engines.tensorrt.pairs import OpenBoth, Pair, Profile

from yais.engines import EngineOptions, open_engine


@pytest.fixture
def open_both(simulation: Any, tmp_path: Path) -> OpenBoth:
    """Opens a model on the CPU, and a plan of it with these profiles on the GPU."""

    def open_it(model: Path, *profiles: Profile, about: dict[str, Any] | None = None, **options: Any) -> Pair:
        plan = tmp_path / f"{model.stem}.engine"
        plan.write_bytes(simulation.make_plan(onnx.load(model), profiles, **about or {}))
        gpu = open_engine(plan, EngineOptions(**options))
        return Pair(gpu, open_engine(model, EngineOptions(max_batch_size=gpu.max_batch_size)))

    return open_it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"

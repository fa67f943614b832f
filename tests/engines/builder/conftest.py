"""Engines of ONNX files whose plans are kept in a folder, on a simulated GPU."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from engines.builder.cached_plans import Open

from yais.engines import Engine, EngineOptions, open_engine
from yais.engines.zoo import mlp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "plans"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp.build(8), path)
    return path


@pytest.fixture
def opened(simulation: Any, model: Path, folder: Path) -> Open:
    """Opens the perceptron, or another file, on the GPU."""

    def open_it(path: Path = model, **options: Any) -> Engine:
        return open_engine(path, EngineOptions(**{"device": "cuda", "plan_cache": folder, **options}))

    return open_it

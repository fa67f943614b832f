"""Tests on a real GPU, with whatever library is there; they run on stand-ins of CUDA and TensorRT as well:

PYTHONPATH=tests/engines/standins pytest -m gpu -n 0 tests/gpu
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu.gpu_models import MAKERS, Model

from yais.engines import Engine, EngineError, EngineOptions, open_engine
from yais.engines.builder.build import BuildOptions, build_plan
from yais.engines.cuda.device import CudaDevice, open_device
from yais.engines.tensorrt.library import Library, find_library

Open = Callable[..., Engine]


@pytest.fixture(scope="session")
def gpu() -> CudaDevice:
    try:
        return open_device(0)
    except EngineError as error:
        give_up = pytest.fail if os.environ.get("YAIS_REQUIRE_GPU") else pytest.skip
        give_up(f"there is no GPU: {error}")


@pytest.fixture(autouse=True)
def nothing_wrong(gpu: CudaDevice) -> Iterator[None]:
    """On stand-ins, which tell of what a GPU may or may not forgive."""
    yield
    simulation: Any = sys.modules.get("simulation")
    assert simulation is None or simulation.machine().violations == []


@pytest.fixture(scope="session")
def library(gpu: CudaDevice) -> Library:
    try:
        return find_library()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """The models of `gpu_models` by name, each made once."""
    folder, made = tmp_path_factory.mktemp("models"), dict[str, Model]()

    def make(name: str) -> Model:
        if name not in made:
            made[name] = MAKERS[name](folder / f"{name}.onnx")
        return made[name]

    return make


@pytest.fixture(scope="session")
def plan(gpu: CudaDevice, library: Library, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The plans of models, each built once for this GPU, or for GPUs of another capability, which RTX alone can."""
    folder, built = tmp_path_factory.mktemp("plans"), dict[tuple[Any, ...], Path]()

    def build(model: Model, capability: str | None = None, **options: Any) -> Path:
        key = (model.path.stem, capability, *options.items())
        if key not in built:
            targets = (capability or "current",) if library.features.builds_without_gpu else ()
            asked = BuildOptions(shapes=model.bounds, capabilities=targets, **options)
            path = folder / f"{len(built)}-{model.path.stem}.engine"
            with gpu:
                path.write_bytes(build_plan(model.path, asked, library))
            built[key] = path
        return built[key]

    return build


@pytest.fixture(scope="session", params=["tensorrt", "onnxruntime"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a model on the GPU, through a plan or through ONNX Runtime's CUDA provider."""
    if request.param == "tensorrt":
        plan = request.getfixturevalue("plan")
        return lambda model, **options: open_engine(plan(model), EngineOptions(**options))
    request.getfixturevalue("gpu")
    ort_cuda = pytest.importorskip("yais.engines.onnxruntime.cuda")
    try:
        ort_cuda.require_provider()
    except EngineError as error:
        pytest.skip(str(error))
    return lambda model, **options: ort_cuda.open_onnx_on_ort_cuda(model.path, EngineOptions(device="cuda", **options))

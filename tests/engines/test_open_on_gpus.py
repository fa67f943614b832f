"""Opening of files on GPUs: by which backend, on which GPUs, and with which errors."""

import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engines.tensorrt.plans import FEATURES, on_cpu, rows_of, save_mlp
from yais.engines import Context, Engine, EngineError, EngineOptions, open_engine
from yais.engines.onnxruntime.cpu import OrtEngine
from yais.engines.zoo import mlp

OUT_OF_MEMORY, ILLEGAL_ADDRESS, NOT_SUPPORTED = 2, 700, 801

Open = Callable[..., Engine]


@pytest.fixture
def file(simulation: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a file of the perceptron with this name: a plan, or an ONNX file."""

    def make(name: str) -> Path:
        path = tmp_path / name
        if path.suffix == ".onnx":
            onnx.save(mlp.build(8), path)
            return path
        return save_mlp(simulation, path)

    return make


@pytest.fixture
def opened(file: Callable[[str], Path], tmp_path: Path) -> Open:
    """Opens such a file, with a plan cache of its own."""

    def open_it(name: str, **options: Any) -> Engine:
        return open_engine(file(name), EngineOptions(**{"plan_cache": tmp_path / "plans", **options}))

    return open_it


@pytest.fixture
def without_tensorrt(simulation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yais.engines.tensorrt.library.find_spec", lambda name: None)


def run(context: Context, seed: int = 0) -> None:
    """Runs three rows of random numbers, and sees that the answers are right."""
    context.fit(((FEATURES,),))
    context.inputs["INPUT0"][:3] = rows_of(3, seed)
    context.execute(3)
    np.testing.assert_allclose(context.outputs["OUTPUT0"][:3], on_cpu(rows_of(3, seed)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "device", "platform", "place"),
    [
        ("m.engine", "cuda", "tensorrt_plan", "cuda:0"),
        ("m.engine", "cpu", "tensorrt_plan", "cuda:0"),
        ("m.plan", "cuda", "tensorrt_plan", "cuda:0"),
        ("m.PLAN", "cpu", "tensorrt_plan", "cuda:0"),
        ("m.onnx", "cuda", "tensorrt_plan", "cuda:0"),
        ("m.onnx", "cpu", "onnxruntime_onnx", "cpu"),
    ],
)
def test_file_and_device_decide_what_runs_it(
    opened: Open, simulation: Any, name: str, device: str, platform: str, place: str
) -> None:
    engine = opened(name, device=device)
    assert (engine.platform, engine.device) == (platform, place)
    run(engine.create_context())
    assert bool(simulation.machine().calls) == (place == "cuda:0")


def test_an_onnx_file_on_the_cpu_needs_nothing_of_a_gpu(
    opened: Open, simulation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pycuda.driver", "tensorrt", "cuda.bindings.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    assert isinstance(opened("m.onnx"), OrtEngine)


@pytest.mark.parametrize("name", ["m.engine", "m.onnx"])
@pytest.mark.parametrize(("contexts", "share"), [(2, 1), (3, 2), (8, 4)])
def test_each_gpu_has_its_share_of_what_runs_at_once(
    opened: Open, simulation: Any, name: str, contexts: int, share: int
) -> None:
    simulation.reset(gpus=3)
    engine = opened(name, device="cuda", devices=(2, 0), contexts=contexts, graphs=False)
    assert engine.device == "cuda:2,cuda:0"
    assert len(simulation.machine().named("create stream")) == 2 * share
    for seed in range(4):
        run(engine.create_context(), seed)
    devices = simulation.machine().devices
    assert devices[0].memory.used == devices[2].memory.used > 0 == devices[1].memory.used


def test_of_several_gpus_each_gets_every_other_context(opened: Open, simulation: Any) -> None:
    simulation.reset(gpus=2)
    engine = opened("m.engine", devices=(0, 1), contexts=2, graphs=False)
    contexts = [engine.create_context() for _ in range(4)]
    used = []
    for context in contexts:
        simulation.machine().calls.clear()
        run(context)
        (executed,) = simulation.machine().named("execute")
        used.append(executed[1])
    assert used[0] == used[2] != used[1] == used[3]


def test_gpus_of_two_kinds_have_a_plan_each(opened: Open, simulation: Any, tmp_path: Path) -> None:
    simulation.reset(gpus=2).devices[1].capability = (9, 0)
    engine = opened("m.onnx", device="cuda", devices=(0, 1), contexts=2)
    assert len(simulation.machine().named("build")) == len([*(tmp_path / "plans").glob("*.engine")]) == 2
    for seed in range(2):
        run(engine.create_context(), seed)


def test_a_plan_is_refused_where_one_gpu_cannot_run_it(opened: Open, simulation: Any) -> None:
    simulation.reset(gpus=2).devices[1].capability = (9, 0)
    with pytest.raises(EngineError, match=r"^engine '.*m\.engine': it was built for another GPU "):
        opened("m.engine", devices=(0, 1), contexts=2)


@pytest.mark.parametrize("name", ["m.engine", "m.onnx"])
def test_a_gpu_that_does_not_exist_is_told_with_the_file(opened: Open, simulation: Any, name: str) -> None:
    simulation.reset(gpus=2)
    with pytest.raises(EngineError, match=rf"^engine '.*{name}': --devices: GPU 2 does not exist; CUDA sees 2$"):
        opened(name, device="cuda", devices=(0, 2), contexts=2)
    assert not simulation.machine().named("build")


def test_without_tensorrt_onnx_runtime_runs_onnx_files_on_each_gpu(
    opened: Open, without_tensorrt: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def open_onnx_on_ort_cuda(path: Path, options: EngineOptions, device: int) -> Engine:
        asked.append((path.name, options.contexts, device))
        return open_engine(path)

    monkeypatch.setattr("yais.engines.onnxruntime.cuda.open_onnx_on_ort_cuda", open_onnx_on_ort_cuda)
    with caplog.at_level(logging.INFO, "yais.engines.open"):
        engine = opened("m.onnx", device="cuda", devices=(0, 3), contexts=3)
    assert asked == [("m.onnx", 2, 0), ("m.onnx", 2, 3)]
    assert engine.platform == "onnxruntime_onnx"
    assert "TensorRT is not installed: pip install 'yais[gpu]'; ONNX Runtime runs '" in caplog.text


def test_without_tensorrt_a_plan_is_told_with_what_to_install(opened: Open, without_tensorrt: None) -> None:
    with pytest.raises(
        EngineError, match=r"^engine '.*m\.engine': TensorRT is not installed: pip install 'yais\[gpu\]'$"
    ):
        opened("m.engine")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("pycuda.driver", r"a GPU needs pycuda: pip install 'yais\[gpu\]'$"),
        ("cuda.bindings.driver", r"a GPU needs cuda-bindings: pip install 'yais\[gpu\]' "),
    ],
)
@pytest.mark.parametrize("name", ["m.engine", "m.onnx"])
def test_a_package_that_is_missing_is_told_with_what_to_install(
    opened: Open, monkeypatch: pytest.MonkeyPatch, name: str, module: str, text: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match=rf"^engine '.*{name}': {text}"):
        opened(name, device="cuda")


def test_a_driver_that_is_missing_is_told(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YAIS_SIMULATED_DRIVER", "0")
    with pytest.raises(
        EngineError, match=r"^engine '.*': pycuda is installed, but finds no CUDA driver: libcuda\.so\.1: cannot open"
    ):
        opened("m.engine")


def test_a_driver_that_is_too_old_is_told(opened: Open, simulation: Any) -> None:
    simulation.reset(driver_version=11040)
    with pytest.raises(EngineError, match=r"^engine '.*': there is no GPU with a new enough driver .* error: 35\."):
        opened("m.engine")


@pytest.mark.parametrize("content", [b"", b"no plan at all", b"ftrt", b"ftrt" + bytes(500)])
def test_a_file_that_is_no_plan_is_told(tmp_path: Path, simulation: Any, content: bytes) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=rf"^engine '{path}': (not a |it is damaged)"):
        open_engine(path)


@pytest.mark.parametrize("call", ["cuStreamCreate", "cuEventCreate", "cuMemsetD8Async", "cuCtxPushCurrent"])
def test_whatever_fails_at_the_start_is_told_with_the_file(opened: Open, simulation: Any, call: str) -> None:
    simulation.fail(call, NOT_SUPPORTED)
    with pytest.raises(EngineError, match=rf"^engine '.*': .*{call} failed: operation not supported$"):
        opened("m.engine")
    run(opened("m.engine").create_context())


def test_a_gpu_that_could_not_be_used_once_can_be_reset_later(opened: Open, simulation: Any) -> None:
    """Which waits for all who use it."""
    context = opened("m.engine").create_context()
    simulation.fail("cuCtxPushCurrent", NOT_SUPPORTED)
    with pytest.raises(EngineError, match=r"^GPU 0 cannot be used: cuCtxPushCurrent failed: operation not supported$"):
        run(context)
    simulation.fail("execute", ILLEGAL_ADDRESS)
    context.fit(((FEATURES,),))
    with pytest.raises(EngineError, match="its context was made anew"):
        context.execute(1)
    run(context)


@pytest.mark.parametrize(
    ("call", "after", "text"),
    [
        ("primary context", 0, "GPU 0 has no context: .* out of memory"),
        ("deserialize", 0, "the GPU has not enough memory left "),
        ("cudaMalloc", 0, "the GPU has not enough memory left "),
        ("create_execution_context", 0, "out of memory"),
        ("create_execution_context", 3, "out of memory"),
        ("cuMemAlloc", 0, "no memory on GPU 0 for "),
        ("cuMemAlloc", 4, "no memory on GPU 0 for "),
    ],
)
@pytest.mark.parametrize("graphs", [True, False])
def test_too_little_memory_for_anything_is_told_and_nothing_is_left(
    opened: Open, simulation: Any, call: str, after: int, text: str, graphs: bool
) -> None:
    simulation.fail(call, OUT_OF_MEMORY, times=1000, after=after)
    with pytest.raises(EngineError, match=rf"^engine '.*': .*{text}"):
        opened("m.engine", contexts=8, graphs=graphs)
    simulation.machine().failures.planned.clear()
    gc.collect()
    left = simulation.machine().report()
    assert (left["memory"], left["streams"], left["events"], left["executables"]) == ({}, 0, 0, 0)
    run(opened("m.engine", contexts=8).create_context())

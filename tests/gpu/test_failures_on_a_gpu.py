"""Failures on a GPU: plans that are not for it, memory that is short, and a context that breaks."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu.gpu_models import BATCH, Model, assert_close, run, sample

from yais.engines import EngineError, EngineOptions, InvalidInputError, open_engine
from yais.engines.cuda.device import CudaDevice
from yais.engines.tensorrt.engine import TensorRtEngine
from yais.engines.tensorrt.library import Library

pytestmark = pytest.mark.gpu

MakeModel = Callable[[str], Model]
Plan = Callable[..., Path]

MIB = 1 << 20
CYCLES = 8
# What the driver and the libraries keep for themselves comes with the first cycles.
SETTLED = 3


@contextmanager
def full(gpu: CudaDevice) -> Iterator[None]:
    """Nearly nothing is free on the GPU."""
    taken = []
    with gpu:
        free, _ = import_module("pycuda.driver").mem_get_info()
        size = 1 << free.bit_length()
        while size >= MIB:
            try:
                taken.append(gpu.allocate(size))
            except EngineError:
                size //= 2
    try:
        yield
    finally:
        with gpu:
            taken.clear()


def used(gpu: CudaDevice) -> int:
    with gpu:
        free, total = import_module("pycuda.driver").mem_get_info()
    return int(total - free)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_plan_is_refused(plan: Plan, model: MakeModel, tmp_path: Path, share: float) -> None:
    data = plan(model("mlp")).read_bytes()
    path = tmp_path / "truncated.engine"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(EngineError, match=r"truncated\.engine.*(it is damaged|not a TensorRT plan)"):
        open_engine(path)


def test_a_plan_for_another_gpu_is_refused(
    plan: Plan, model: MakeModel, gpu: CudaDevice, library: Library, tmp_path: Path
) -> None:
    other = "8.9" if gpu.capability != "8.9" else "12.0"
    simulation: Any = sys.modules.get("simulation")
    if simulation is not None:
        import onnx

        path = tmp_path / "other.engine"
        bounds = {"INPUT0": [(1, 64), (8, 64), (8, 64)]}
        path.write_bytes(simulation.make_plan(onnx.load(model("mlp").path), [bounds], capability=(8, 9)))
    elif library.features.builds_without_gpu:
        path = plan(model("mlp"), capability=other)
    else:
        pytest.skip(f"{library.title} builds for no other GPU than its own")
    with pytest.raises(EngineError, match="it was built for another GPU"):
        open_engine(path)


def test_a_plan_of_another_version_is_refused(plan: Plan, model: MakeModel, tmp_path: Path) -> None:
    data = bytearray(plan(model("mlp")).read_bytes())
    data[24] += 1
    path = tmp_path / "version.engine"
    path.write_bytes(data)
    with pytest.raises(EngineError, match=r"another version of TensorRT made it|it is damaged"):
        open_engine(path)


def test_an_input_outside_the_profile_is_refused_and_the_context_goes_on(plan: Plan, model: MakeModel) -> None:
    engine = open_engine(plan(model("sums")))
    context = engine.create_context()
    with pytest.raises(InvalidInputError, match=r"input 'A': shape \[4097\] is not from \[1\] to \[4096\]"):
        context.fit([(4097,), (4097,)])
    ones = np.ones((2, 5), np.float32)
    assert_close(run(engine, context, [ones, ones])[1][0], 2 * ones)


def test_too_little_memory_at_the_start_is_told_and_leaves_nothing_behind(
    plan: Plan, model: MakeModel, gpu: CudaDevice
) -> None:
    path = plan(model("efficientnet-lite0"))
    with full(gpu), pytest.raises(EngineError, match=r"no memory on GPU 0|the GPU has not enough memory left"):
        open_engine(path, EngineOptions(contexts=64))
    gc.collect()
    engine = open_engine(path)
    values = sample(engine, 2)
    assert_close(run(engine, engine.create_context(), [values])[1][0], model("efficientnet-lite0").on_cpu(values)[0])


def test_too_little_memory_for_an_output_fails_that_run_alone(plan: Plan, model: MakeModel, gpu: CudaDevice) -> None:
    engine = open_engine(plan(model("places")))
    context = engine.create_context()
    many, few = np.ones(1 << 20, np.float32), np.ones(10, np.float32)
    run(engine, context, [few])
    with full(gpu), pytest.raises(EngineError, match="memory"):
        run(engine, context, [many])
    for values in (few, many):
        np.testing.assert_array_equal(run(engine, context, [values])[1][0], np.arange(len(values))[np.newaxis])


def test_a_broken_context_is_made_anew_and_gives_the_same_answers(plan: Plan, model: MakeModel) -> None:
    command = [sys.executable, str(Path(__file__).with_name("break_device.py")), str(plan(model("mlp")))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=os.environ)
    assert done.returncode == 0, done.stderr
    error, verdict = done.stdout.splitlines()
    assert error.startswith("EngineError: ")
    assert error.endswith("its context was made anew")
    assert verdict == "the same"


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
def test_engines_that_are_opened_and_closed_leave_nothing_on_the_gpu(
    plan: Plan, model: MakeModel, gpu: CudaDevice, graphs: bool
) -> None:
    taken, closed = [], []
    for seed in range(CYCLES):
        engine = open_engine(plan(model("efficientnet-lite0")), EngineOptions(contexts=2, graphs=graphs))
        assert isinstance(engine, TensorRtEngine)
        run(engine, engine.create_context(), [sample(engine, BATCH, seed)])
        engine.close()
        closed.append(engine)
        gc.collect()
        taken.append(used(gpu))
    assert taken[-1] - taken[SETTLED] <= 2 * MIB, taken

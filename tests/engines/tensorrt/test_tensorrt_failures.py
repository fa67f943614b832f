"""Failures on a simulated GPU: at the start, in a single run, and with the GPU as a whole."""

from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import numpy as np
import pytest
from engines.tensorrt.plans import FEATURES, on_cpu, rows_of, save_mlp

from yais.engines import (
    Context,
    DeviceLostError,
    Engine,
    EngineError,
    EngineOptions,
    InvalidInputError,
    open_engine,
)
from yais.engines.cuda.device import CudaDevice, open_device
from yais.engines.cuda.driver import CudaGraph
from yais.engines.tensorrt.engine import TensorRtEngine
from yais.engines.tensorrt.library import find_library
from yais.engines.tensorrt.slot import ExecutionContext

ILLEGAL_ADDRESS, OUT_OF_MEMORY, LAUNCH_FAILED, UNKNOWN = 700, 2, 719, 999

OpenPlan = Callable[..., Engine]


@pytest.fixture
def open_mlp(simulation: Any, tmp_path: Path) -> OpenPlan:
    def open_it(name: str = "mlp", about: dict[str, Any] | None = None, **options: Any) -> Engine:
        return open_engine(save_mlp(simulation, tmp_path / f"{name}.engine", **about or {}), EngineOptions(**options))

    return open_it


def run(context: Context, count: int, seed: int = 0) -> None:
    """Runs rows of random numbers, and sees that the answers are right."""
    rows = rows_of(count, seed)
    context.fit(((FEATURES,),))
    context.inputs["INPUT0"][:count] = rows
    context.execute(count)
    np.testing.assert_allclose(context.outputs["OUTPUT0"][:count], on_cpu(rows), atol=1e-5)


def test_a_plan_of_another_version_is_told(open_mlp: OpenPlan, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as refusal:
        open_mlp(about={"version": (10, 3, 0, 26)})
    assert str(refusal.value).startswith(
        f"engine '{tmp_path / 'mlp.engine'}': another version of TensorRT made it "
        "(built by TensorRT 10.3.0.26, loaded by TensorRT 10.13.0.35): "
    )


def test_a_plan_for_another_gpu_is_told(open_mlp: OpenPlan) -> None:
    with pytest.raises(EngineError, match=r": it was built for another GPU .*expecting compute 8\.0 got compute 9\.0"):
        open_mlp(about={"capability": (9, 0)})


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "not a TensorRT plan"), (0.5, "it is damaged"), (0.99, "it is damaged")]
)
def test_a_truncated_plan_is_told(simulation: Any, tmp_path: Path, share: float, text: str) -> None:
    path = save_mlp(simulation, tmp_path / "m.plan")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(EngineError, match=text):
        open_engine(path)


def test_a_plan_of_rtx_is_not_for_tensorrt(simulation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(b"vtrt" + bytes(100))
    monkeypatch.setattr("yais.engines.tensorrt.library.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"TensorRT-RTX is not installed: pip install 'tensorrt-rtx'$"):
        open_engine(path)


def test_a_machine_without_a_driver_is_told(
    simulation: Any, open_mlp: OpenPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation.fail("cuInit", 100)
    with pytest.raises(EngineError, match=r"CUDA cannot be used: cuInit failed: no CUDA-capable device is detected"):
        open_mlp()


def test_too_little_memory_at_the_start_is_told_with_what_to_reduce(open_mlp: OpenPlan, simulation: Any) -> None:
    simulation.reset(memory=100_000)
    with pytest.raises(EngineError, match=r"no memory on GPU 0 .* fewer --contexts, --workspaces or rows"):
        open_mlp(contexts=64)


def test_a_start_that_failed_leaves_nothing_on_the_gpu(open_mlp: OpenPlan, simulation: Any) -> None:
    simulation.fail("cuMemAlloc", OUT_OF_MEMORY, after=4)
    with pytest.raises(EngineError, match="no memory"):
        open_mlp(contexts=4)
    run(open_mlp(contexts=1).create_context(), 3)


def test_an_input_outside_the_profile_is_told(open_mlp: OpenPlan) -> None:
    context = open_mlp().create_context()
    with pytest.raises(InvalidInputError, match=r"^input 'INPUT0': shape \[65\] is not from \[64\] to \[64\]$"):
        context.fit(((65,),))
    run(context, 2)


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync", "cuGraphLaunch", "cuMemcpyDtoHAsync", "cuEventRecord"])
def test_a_run_that_fails_leaves_the_others_be(open_mlp: OpenPlan, simulation: Any, call: str) -> None:
    engine = open_mlp(contexts=2)
    first, second = engine.create_context(), engine.create_context()
    run(first, 2)
    simulation.fail(call, LAUNCH_FAILED - 18)
    with pytest.raises(EngineError, match=r"failed: too many resources requested for launch$"):
        run(first, 3)
    run(second, 3)
    run(first, 3)
    assert not simulation.machine().named("reset")


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("operation", ["htod", "execute", "dtoh"])
def test_after_a_sticky_error_the_context_is_made_anew(
    open_mlp: OpenPlan, simulation: Any, caplog: pytest.LogCaptureFixture, operation: str, graphs: bool
) -> None:
    engine = open_mlp(graphs=graphs, contexts=2)
    contexts = [engine.create_context(), engine.create_context()]
    run(contexts[0], 2)
    simulation.fail(operation, ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match=r"illegal memory access was encountered; its context was made anew$"):
        run(contexts[0], 3)
    for seed, context in enumerate(contexts):
        run(context, 3, seed)
    assert "The context of GPU 0 broke, and was made anew" in caplog.text


def test_outputs_of_another_context_stay_readable_when_the_gpu_is_reset(open_mlp: OpenPlan, simulation: Any) -> None:
    engine = open_mlp(contexts=2)
    first, second = engine.create_context(), engine.create_context()
    run(first, 4, seed=1)
    simulation.fail("execute", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError):
        run(second, 1)
    np.testing.assert_allclose(first.outputs["OUTPUT0"][:4], on_cpu(rows_of(4, 1)), atol=1e-5)


def test_a_reset_for_one_engine_costs_no_run_of_another_on_the_same_gpu(open_mlp: OpenPlan, simulation: Any) -> None:
    first, second = (open_mlp(name).create_context() for name in ("first", "second"))
    run(first, 2)
    run(second, 2)
    simulation.fail("execute", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="made anew"):
        run(first, 1)
    run(second, 3)
    run(first, 3)


def test_threads_that_notice_together_repair_once(open_mlp: OpenPlan, simulation: Any) -> None:
    engine = open_mlp(contexts=4)
    contexts = [engine.create_context() for _ in range(4)]
    barrier, errors = Barrier(4), list[str]()
    simulation.fail("execute", ILLEGAL_ADDRESS)

    def work(context: Context) -> None:
        barrier.wait(30)
        for _ in range(3):
            try:
                run(context, 2)
            except EngineError as error:
                errors.append(str(error))

    threads = [Thread(target=work, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 1 <= len(errors) <= 4
    assert all("made anew" in error for error in errors)
    for context in contexts:
        run(context, 5)


def test_a_gpu_that_is_gone_is_lost_for_all_runs_to_come(open_mlp: OpenPlan, simulation: Any) -> None:
    engine = open_mlp(contexts=2)
    first, second = engine.create_context(), engine.create_context()
    run(first, 2)
    simulation.lose()
    for context in (first, second, first):
        with pytest.raises(DeviceLostError, match=r"^GPU 0 is lost: "):
            run(context, 1)


def test_a_gpu_that_breaks_again_and_again_is_lost(open_mlp: OpenPlan, simulation: Any) -> None:
    context = open_mlp(graphs=False).create_context()
    simulation.fail("htod", ILLEGAL_ADDRESS, times=4)
    for _ in range(3):
        with pytest.raises(EngineError, match="made anew"):
            run(context, 1)
    with pytest.raises(DeviceLostError, match=r"^GPU 0 is lost: its context broke 4 times in 600 s$"):
        run(context, 1)


def test_a_gpu_that_breaks_now_and_then_goes_on(simulation: Any, tmp_path: Path) -> None:
    times = iter(range(0, 10_000, 250))
    path, options = save_mlp(simulation, tmp_path / "m.engine"), EngineOptions(graphs=False)
    context = TensorRtEngine(
        path, find_library(), open_device(0), options, clock=lambda: float(next(times))
    ).create_context()
    for _ in range(6):
        simulation.fail("htod", ILLEGAL_ADDRESS)
        with pytest.raises(EngineError, match="made anew"):
            run(context, 1)
        run(context, 1)


def test_another_plan_under_the_same_name_is_not_run_with_the_buffers_of_the_first(
    open_mlp: OpenPlan, simulation: Any, tmp_path: Path
) -> None:
    context = open_mlp().create_context()
    run(context, 2)
    save_mlp(simulation, tmp_path / "mlp.engine", (1, 16))
    simulation.fail("execute", ILLEGAL_ADDRESS)
    with pytest.raises(DeviceLostError, match=r"^GPU 0 is lost: the file holds another plan by now$"):
        run(context, 1)


def test_a_plan_whose_file_is_gone_cannot_be_opened_again(open_mlp: OpenPlan, simulation: Any, tmp_path: Path) -> None:
    context = open_mlp().create_context()
    (tmp_path / "mlp.engine").unlink()
    simulation.fail("execute", ILLEGAL_ADDRESS)
    with pytest.raises(DeviceLostError, match=r"^GPU 0 is lost: .*No such file or directory"):
        run(context, 1)


def test_an_error_while_another_thread_records_does_not_reset_the_gpu(open_mlp: OpenPlan, simulation: Any) -> None:
    """To synchronise the whole context would be an error then, and spoil the recording."""
    context = open_mlp().create_context()
    device = open_device(0)
    recording, go_on = Event(), Event()
    graphs: list[CudaGraph] = []

    def record() -> None:
        with device:
            stream = device.stream()

            def wait() -> None:
                recording.set()
                go_on.wait(30)

            graphs.append(device.cuda.record(stream.handle, wait))
            graphs[0].free()
            del stream

    thread = Thread(target=record)
    thread.start()
    recording.wait(30)
    simulation.fail("cuMemcpyHtoDAsync", OUT_OF_MEMORY)
    with pytest.raises(EngineError, match=r"^cuMemcpyHtoDAsync failed: out of memory$"):
        run(context, 1)
    go_on.set()
    thread.join(30)
    assert (len(graphs), device.generation) == (1, 0)
    run(context, 3)


def test_a_workspace_is_not_given_on_while_a_run_that_failed_half_way_may_still_be_in_it(
    open_mlp: OpenPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT takes nothing back of what it has put on a stream before it fails."""
    engine = open_mlp(contexts=2, workspaces=1, graphs=False)
    first, second = engine.create_context(), engine.create_context()
    enqueue, is_healthy = ExecutionContext.enqueue, CudaDevice.is_healthy
    locks: list[bool] = []

    def fail_half_way(self: ExecutionContext, *run: Any) -> None:
        enqueue(self, *run)
        raise EngineError("layer 40 of 60")

    def wait(self: CudaDevice, stream: Any = None) -> bool:
        locks.append(engine._pool._slots[0]._workspace.lock.locked())  # type: ignore[attr-defined]
        return is_healthy(self, stream)

    monkeypatch.setattr(ExecutionContext, "enqueue", fail_half_way)
    monkeypatch.setattr(CudaDevice, "is_healthy", wait)
    first.fit(((FEATURES,),))
    with pytest.raises(EngineError, match=r"^layer 40 of 60$"):
        first.execute(2)
    assert locks[0]
    monkeypatch.undo()
    run(second, 2)

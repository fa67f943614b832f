"""Runs of plans on a simulated GPU: what comes out, and what the GPU was asked to do."""

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
from engines.tensorrt.plans import FEATURES, on_cpu, rows_of, save_mlp

from yais.engines import Context, Engine, EngineOptions, Run, open_engine
from yais.engines.tensorrt.engine import TensorRtEngine

ROW = FEATURES * 4
ANSWER = 10 * 4
# What takes time or memory, and may happen only before requests do.
COSTLY = ("alloc", "free", "register", "unregister", "create context", "create stream", "create event", "instantiate")

OpenPlan = Callable[..., Engine]


@pytest.fixture
def open_mlp(simulation: Any, tmp_path: Path) -> OpenPlan:
    """Opens a plan of the perceptron with these profiles, on a GPU that has just been made."""

    def open_it(*spans: tuple[int, int], **options: Any) -> Engine:
        return open_engine(save_mlp(simulation, tmp_path / "mlp.engine", *spans), EngineOptions(**options))

    return open_it


def run(context: Context, count: int, seed: int = 0) -> Run:
    """Runs rows of random numbers, and sees that the answers are right."""
    rows = rows_of(count, seed)
    context.fit(((FEATURES,),))
    context.inputs["INPUT0"][:count] = rows
    took = context.execute(count)
    np.testing.assert_allclose(context.outputs["OUTPUT0"][:count], on_cpu(rows), atol=1e-5)
    return took


def calls_of(simulation: Any, work: Callable[[], object]) -> list[tuple[Any, ...]]:
    """What the GPU is asked for meanwhile."""
    simulation.machine().calls.clear()
    work()
    return list(simulation.machine().calls)


def test_an_engine_tells_what_its_plan_holds(open_mlp: OpenPlan) -> None:
    engine = open_mlp((1, 4), (5, 16))
    assert [(spec.name, spec.dtype, spec.shape) for spec in engine.inputs] == [("INPUT0", np.float32, (64,))]
    assert [(spec.name, spec.dtype, spec.shape) for spec in engine.outputs] == [("OUTPUT0", np.float32, (10,))]
    assert (engine.platform, engine.device, engine.max_batch_size) == ("tensorrt_plan", "cuda:0", 16)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("spans", [[(1, 8)], [(1, 3), (4, 12)], [(4, 8)], [(1, 1)], [(1, 7)]])
def test_batches_of_all_sizes_are_answered_as_on_the_cpu(
    open_mlp: OpenPlan, graphs: bool, spans: list[tuple[int, int]]
) -> None:
    engine = open_mlp(*spans, graphs=graphs)
    context = engine.create_context()
    for count in [*range(1, engine.max_batch_size + 1), 1]:
        run(context, count, seed=count)


@pytest.mark.parametrize(("count", "padding"), [(1, 0), (2, 0), (3, 1), (4, 0), (5, 2), (6, 1), (7, 0)])
def test_batches_are_filled_up_to_the_next_size_that_is_recorded(open_mlp: OpenPlan, count: int, padding: int) -> None:
    assert run(open_mlp((1, 7)).create_context(), count).padding == padding


@pytest.mark.parametrize(("graphs", "count", "padding"), [(False, 3, 0), (False, 1, 0), (True, 3, 1)])
def test_without_graphs_nothing_is_filled_up(open_mlp: OpenPlan, graphs: bool, count: int, padding: int) -> None:
    assert run(open_mlp(graphs=graphs).create_context(), count).padding == padding


@pytest.mark.parametrize("graphs", [True, False])
def test_a_batch_below_the_least_of_the_plan_is_filled_up_to_it(open_mlp: OpenPlan, graphs: bool) -> None:
    assert run(open_mlp((4, 8), graphs=graphs).create_context(), 1).padding == 3


def test_a_run_tells_what_its_stages_took(open_mlp: OpenPlan) -> None:
    took = run(open_mlp().create_context(), 8)
    assert took.infer_ns > 0
    assert took.input_ns >= 0
    assert took.output_ns >= 0


def test_one_run_is_copies_of_its_rows_around_one_launch_on_one_stream(open_mlp: OpenPlan, simulation: Any) -> None:
    context = open_mlp().create_context()
    run(context, 1)
    calls = calls_of(simulation, lambda: run(context, 3))
    assert [call[0] for call in calls] == [
        "record",
        "htod",
        "record",
        "launch",
        "record",
        "dtoh",
        "record",
        "synchronize event",
    ]
    assert len({call[1] for call in calls[:-1]}) == 1
    assert [call[-1] for call in calls if call[0] in ("htod", "dtoh")] == [3 * ROW, 3 * ANSWER]


@pytest.mark.parametrize("graphs", [True, False])
def test_nothing_is_allocated_once_the_engine_serves(open_mlp: OpenPlan, simulation: Any, graphs: bool) -> None:
    context = open_mlp((1, 4), (5, 8), graphs=graphs).create_context()
    context.fit(((FEATURES,),))
    calls = calls_of(simulation, lambda: [run(context, count) for count in (8, 1, 5, 3, 8, 4)])
    assert [call for call in calls if call[0] in COSTLY] == []
    assert len([call for call in calls if call[0] in ("launch", "execute")]) == 6


def test_each_recorded_size_has_a_context_of_its_own(open_mlp: OpenPlan, simulation: Any) -> None:
    open_mlp((1, 8), contexts=3)
    machine = simulation.machine()
    assert len(machine.named("instantiate")) == 3 * len((1, 2, 4, 8))
    to_ask_for_shapes = 1
    assert len(machine.named("create context")) == to_ask_for_shapes + 3 * 4


@pytest.mark.parametrize(
    ("options", "count"), [({"contexts": 8}, 4), ({"contexts": 2}, 2), ({"contexts": 8, "workspaces": 1}, 1)]
)
def test_contexts_share_workspaces(open_mlp: OpenPlan, simulation: Any, options: dict[str, int], count: int) -> None:
    engine = open_mlp(**options)
    weights, inputs_and_outputs = 1, 2 * options["contexts"]
    assert len(simulation.machine().named("alloc")) == weights + count + inputs_and_outputs
    run(engine.create_context(), 8)


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("workspaces", [1, 2, 4])
def test_runs_at_the_same_time_do_not_disturb_each_other(open_mlp: OpenPlan, workspaces: int, graphs: bool) -> None:
    """The simulated GPU tells of two runs that used the same memory at the same time."""
    engine = open_mlp((1, 3), (4, 8), contexts=4, workspaces=workspaces, graphs=graphs)
    barrier, failures = Barrier(5), list[BaseException]()

    def work(number: int) -> None:
        context = engine.create_context()
        barrier.wait(30)
        try:
            for turn in range(12):
                run(context, 1 + (number + turn) % 8, seed=100 * number + turn)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuGraphInstantiate"])
def test_where_recording_fails_runs_go_without(
    open_mlp: OpenPlan, simulation: Any, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    simulation.fail(call, 801, after=1)
    context = open_mlp().create_context()
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"Runs are not recorded as CUDA graphs: {call} failed: operation not supported"
    ]
    calls = calls_of(simulation, lambda: run(context, 3))
    assert [call[0] for call in calls if call[0] in ("launch", "execute")] == ["execute"]


def test_where_the_second_slot_cannot_record_neither_does(open_mlp: OpenPlan, simulation: Any) -> None:
    simulation.fail("cuStreamBeginCapture", 900, after=5)
    engine = open_mlp(contexts=2)
    contexts = [engine.create_context(), engine.create_context()]
    calls = calls_of(simulation, lambda: [run(context, 1) for context in contexts])
    assert [call[0] for call in calls if call[0] in ("launch", "execute")] == ["execute", "execute"]
    assert simulation.machine().report()["executables"] == 0


def test_contexts_are_spread_over_the_gpus(open_mlp: OpenPlan, simulation: Any) -> None:
    simulation.reset(gpus=3)
    engine = open_mlp(contexts=3, devices=(0, 2))
    assert engine.device == "cuda:0,cuda:2"
    contexts = [engine.create_context() for _ in range(4)]
    for seed, context in enumerate(contexts):
        run(context, 2, seed)
    used = [device.memory.used for device in simulation.machine().devices]
    assert used[0] == used[2] > 0
    assert used[1] == 0


@pytest.mark.parametrize(("asked", "largest"), [(5, 5), (99, 8), (0, 0)])
def test_the_largest_batch_may_be_bounded(open_mlp: OpenPlan, asked: int, largest: int) -> None:
    assert open_mlp(max_batch_size=asked).max_batch_size == largest


def test_without_batches_a_row_has_the_batch_of_its_own(open_mlp: OpenPlan) -> None:
    context = open_mlp((1, 8), max_batch_size=0).create_context()
    rows = rows_of(3)
    context.fit(((3, FEATURES),))
    context.inputs["INPUT0"][0] = rows
    context.execute(1)
    np.testing.assert_allclose(context.outputs["OUTPUT0"][0], on_cpu(rows), atol=1e-5)


def test_an_engine_that_is_closed_leaves_nothing_on_the_gpu(open_mlp: OpenPlan, simulation: Any) -> None:
    for turn in range(3):
        engine = open_mlp((1, 4), (5, 8), contexts=3)
        assert isinstance(engine, TensorRtEngine)
        run(engine.create_context(), 3, seed=turn)
        engine.close()
        del engine
        gc.collect()
        left = simulation.machine().report()
        assert {name: left[name] for name in ("memory", "streams", "events", "executables")} == {
            "memory": {},
            "streams": 0,
            "events": 0,
            "executables": 0,
        }

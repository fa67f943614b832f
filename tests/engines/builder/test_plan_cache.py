"""Plans of ONNX files: built once, kept, and found again by what they depend on."""

import fcntl
import logging
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import IO, Any

import numpy as np
import onnx
import pytest
from engines.builder.cached_plans import Open, builds, damage, leftovers, make_unwritable, plans, run, with_data_beside
from engines.tensorrt.plans import FEATURES, on_cpu, rows_of
from onnx import TensorProto, helper

from engines import models
from yais.engines.tensorrt.library import find_library
from yais.engines.zoo import mlp


def test_the_first_start_builds_and_the_second_loads(
    opened: Open, simulation: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "yais.engines.builder"):
        run(opened())
    (plan,) = plans(folder)
    said = [record.message for record in caplog.records]
    assert said[0].startswith("Building a plan of ")
    assert said[0].endswith(" for Simulated GPU with TensorRT 10.13.0.35; this takes a while")
    assert said[1].startswith(f"Built {plan} in ")
    caplog.clear()
    made = plan.stat()
    with caplog.at_level(logging.INFO, "yais.engines.builder"):
        run(opened())
    assert builds(simulation) == 1
    assert caplog.records[0].message.startswith(f"Found {plan}, the plan of ")
    assert plan.stat() == made
    assert leftovers(folder) == []


def test_the_plan_takes_the_batches_that_the_model_declares_and_no_more_than_are_asked_for(opened: Open) -> None:
    sizes = [opened(max_batch_size=size).max_batch_size for size in (None, 4, 100, 1, 0)]
    assert sizes == [8, 4, 8, 1, 0]


def test_another_largest_batch_is_another_plan(opened: Open, simulation: Any) -> None:
    for size in (None, 1, None, 1):
        opened(max_batch_size=size)
    assert builds(simulation) == 2


def test_without_batching_the_plan_is_the_one_that_could_do_it(opened: Open, simulation: Any) -> None:
    opened()
    engine = opened(max_batch_size=0)
    assert builds(simulation) == 1
    context = engine.create_context()
    context.fit(((3, FEATURES),))
    context.inputs["INPUT0"][0] = rows_of(3)
    context.execute(1)
    np.testing.assert_allclose(context.outputs["OUTPUT0"][0], on_cpu(rows_of(3)), atol=1e-5)


def test_other_content_is_another_plan(opened: Open, simulation: Any, model: Path) -> None:
    opened()
    onnx.save(mlp.build(8, seed=5), model)
    opened()
    assert builds(simulation) == 2


def test_the_same_content_elsewhere_is_the_same_plan(
    opened: Open, simulation: Any, model: Path, tmp_path: Path
) -> None:
    opened()
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / model.name
    copy.write_bytes(model.read_bytes())
    opened(copy)
    assert builds(simulation) == 1


def test_another_tensorrt_is_another_plan(
    opened: Open, simulation: Any, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    opened()
    monkeypatch.setenv("YAIS_SIMULATED_TENSORRT", "10.13.0.36")
    monkeypatch.setattr(find_library("tensorrt").module, "__version__", "10.13.0.36")
    run(opened())
    assert builds(simulation) == len(plans(folder)) == 2


@pytest.mark.parametrize(("what", "other"), [("name", "Another GPU"), ("capability", (9, 0))])
def test_another_gpu_is_another_plan(opened: Open, simulation: Any, folder: Path, what: str, other: Any) -> None:
    opened()
    setattr(simulation.machine().devices[0], what, other)
    run(opened())
    assert builds(simulation) == len(plans(folder)) == 2


def with_data_of_a_branch_beside(path: Path, location: str) -> Path:
    """Y is X + W if X has any rows, which it has; W is a constant of that branch, and lies in another file."""
    weights = helper.make_tensor("W", models.FLOAT, [2], np.array([1, 2], np.float32).tobytes(), raw=True)
    branches = {}
    for name in ("then_branch", "else_branch"):
        nodes = [helper.make_node("Constant", [], ["W"], value=weights), helper.make_node("Add", ["X", "W"], [name])]
        branches[name] = helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, models.FLOAT, None)])
    node = helper.make_node("If", ["yes"], ["Y"], **branches)
    ends = [("X", models.FLOAT, ["N", 2])], [("Y", models.FLOAT, ["N", 2])]
    models.save(path, [node], *ends, yes=np.array(True))
    loaded = onnx.load(path)
    # Written in this way it stays where it is.
    loaded.graph.initializer[0].CopyFrom(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    onnx.external_data_helper.convert_model_to_external_data(
        loaded, location=location, size_threshold=0, convert_attribute=True
    )
    onnx.save(loaded, path)
    return path


@pytest.mark.parametrize("save", [with_data_beside, with_data_of_a_branch_beside])
@pytest.mark.parametrize("location", ["model.data", "weights/model.data"])
def test_other_weights_in_a_file_beside_the_model_are_another_plan(
    opened: Open, simulation: Any, tmp_path: Path, save: Callable[[Path, str], Path], location: str
) -> None:
    (tmp_path / location).parent.mkdir(exist_ok=True)
    path = save(tmp_path / "model.onnx", location)
    opened(path)
    opened(path)
    assert builds(simulation) == 1
    data = tmp_path / location
    content = bytearray(data.read_bytes())
    content[-8:] = np.array([5, 7], np.float32).tobytes()
    data.write_bytes(content)
    engine = opened(path)
    assert builds(simulation) == 2
    context = engine.create_context()
    context.fit(((2,),))
    context.inputs["X"][:1] = 0
    context.execute(1)
    assert context.outputs["Y"][0].tolist() == [5, 7]


def test_a_folder_that_has_the_plan_need_not_be_writable(opened: Open, simulation: Any, folder: Path) -> None:
    opened()
    make_unwritable(folder)
    run(opened())
    assert builds(simulation) == 1


def test_without_a_folder_plans_are_in_the_users_cache(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened(plan_cache=None)
    assert len(plans(tmp_path / "cache" / "yais" / "plans")) == 1


def open_together(count: int, opened: Open) -> None:
    """Opens the engine on that many threads at the same time."""
    barrier, failures = Barrier(count), list[BaseException]()

    def work() -> None:
        barrier.wait(30)
        try:
            opened()
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failures:
        raise failures[0]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_those_who_want_a_plan_at_the_same_time_build_it_once(
    opened: Open, simulation: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    if is_damaged:
        opened()
        damage(plans(folder)[0], "truncated")
        simulation.machine().calls.clear()
    at_the_lock, flock = Barrier(3), fcntl.flock

    def lock(file: IO[str], operation: int) -> None:
        """Nobody has the lock before all want it."""
        at_the_lock.wait(30)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    open_together(3, opened)
    assert builds(simulation) == len(plans(folder)) == 1

"""Outputs whose shapes the data decide, or that are not of the batch, on a simulated GPU and beside the CPU."""

import logging
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
from engines.tensorrt.pairs import (
    COSTLY,
    OUT_OF_MEMORY,
    Numbers,
    OpenBoth,
    Pair,
    calls_of,
    node,
    numbers,
    only,
    run,
)

from engines import models
from yais.engines import EngineError


def twice(path: Path) -> Path:
    """Y are the rows of X, and once more."""
    ends = [("X", models.FLOAT, ["N", 2])], [("Y", models.FLOAT, ["M", 2])]
    return models.save(path, [node("Concat", ["X", "X"], axis=0)], *ends)


def first_four(path: Path) -> Path:
    """Y are the first rows of X, four at most."""
    ends = [("X", models.FLOAT, ["N", 2])], [("Y", models.FLOAT, ["M", 2])]
    bounds = {"from": np.array([0]), "to": np.array([4])}
    return models.save(path, [node("Slice", ["X", "from", "to"])], *ends, **bounds)


def test_runs_are_not_recorded_where_the_data_decide_a_shape(
    open_both: OpenBoth, path: Path, simulation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    open_both(models.positives(path), only((1, 3), (8, 3))).run(X=numbers(4, 3))
    assert simulation.machine().named("begin capture", "instantiate") == []
    assert caplog.text == ""


def test_what_a_request_decides_of_an_output_grows_and_shrinks_with_it(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))})
    assert (pair.gpu.max_batch_size, pair.gpu.outputs[0].shape) == (0, (1, -1))
    for count in (1, 3, 0, 100, 2, 0, 7):
        pair.run(X=np.where(np.arange(100) % 100 < count, 1, 0).astype(np.float32))


def test_columns_that_the_data_decide_leave_the_rows_their_batch(open_both: OpenBoth, path: Path) -> None:
    pair = open_both(models.positives(path), only((1, 3), (8, 3)))
    assert (pair.gpu.max_batch_size, pair.gpu.outputs[0].shape) == (8, (-1,))
    for first in ([1, -1, 2], [-1, -1, -1], [1, 1, 1], [-1, 5, -1]):
        for others in (0, 1, 7):
            pair.run(X=np.concatenate([Numbers([first]), numbers(others, 3)]))


def test_memory_for_outputs_grows_with_them_until_it_is_enough(
    open_both: OpenBoth, path: Path, simulation: Any
) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))})
    smaller, larger = np.eye(1, 100, dtype=np.float32)[0], np.ones(100, np.float32)
    pair.run(X=smaller)
    grown = calls_of(simulation, lambda: pair.run(X=larger), "alloc", "free")
    assert [call[0] for call in grown] == ["alloc", "free"]
    assert calls_of(simulation, lambda: [pair.run(X=each) for each in (smaller, larger, larger)], *COSTLY) == []


def test_an_output_for_which_there_is_no_memory_fails_one_run(open_both: OpenBoth, path: Path, simulation: Any) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))})
    pair.run(X=numbers(3))
    simulation.fail("cuMemAlloc", OUT_OF_MEMORY)
    with pytest.raises(EngineError, match=r"no memory on GPU 0 for 0\.0 MiB: .* fewer --contexts"):
        run(pair.gpu, pair.contexts[0], {"X": numbers(100)})
    pair.run(X=numbers(4))
    pair.run(X=numbers(100))
    assert not simulation.machine().named("reset")


@pytest.mark.parametrize("width", [2, "W"])
def test_a_plan_whose_rows_the_data_decide_is_served_without_batches(
    open_both: OpenBoth, path: Path, caplog: pytest.LogCaptureFixture, width: int | str
) -> None:
    with caplog.at_level(logging.INFO, "yais.engines.tensorrt"):
        pair = open_both(models.drop_rows(path, width), only((1, 2), (8, 2)))
    assert "The plan is served without batches: the data decide how many rows 'Y' has" in caplog.text
    assert (pair.gpu.max_batch_size, pair.gpu.outputs[0].shape[0]) == (0, -1)
    for rows in ([[1, 2], [-1, 3], [4, 5]], [[-1, 2]], [[1, 2]], [[-1, 1]] * 8):
        pair.run(X=Numbers(rows))


@pytest.mark.parametrize("graphs", [True, False])
def test_an_output_with_other_rows_than_the_batch_fails_that_run(
    open_both: OpenBoth, path: Path, simulation: Any, graphs: bool
) -> None:
    pair = open_both(first_four(path), only((1, 2), (8, 2)), graphs=graphs)
    assert pair.gpu.max_batch_size == 8
    pair.run(X=numbers(4, 2))
    with pytest.raises(EngineError, match=r"^output 'Y' has shape \[4, 2\] for a batch of 5 rows$"):
        run(pair.gpu, pair.contexts[0], {"X": numbers(5, 2)})
    pair.run(X=numbers(3, 2, seed=1))


def test_an_output_that_is_larger_than_the_batch_is_not_computed(
    open_both: OpenBoth, path: Path, simulation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """There is only memory for the batch."""
    pair = open_both(twice(path), only((1, 2), (8, 2)))
    assert "Runs are not recorded as CUDA graphs: output 'Y' has shape [2, 2] for a batch of 1 rows" in caplog.text
    with pytest.raises(EngineError, match=r"^output 'Y' has shape \[6, 2\] for a batch of 3 rows$"):
        run(pair.gpu, pair.contexts[0], {"X": numbers(3, 2)})
    assert simulation.machine().named("execute") == []


@pytest.mark.parametrize("workspaces", [1, 3])
def test_runs_at_the_same_time_each_have_an_output_of_their_own_size(
    open_both: OpenBoth, path: Path, workspaces: int
) -> None:
    pair = open_both(models.non_zero(path), {"X": ((1,), (50,), (100,))}, contexts=3, workspaces=workspaces)
    barrier, failures = Barrier(4), list[BaseException]()

    def work(number: int) -> None:
        each = Pair(pair.gpu, pair.cpu)
        barrier.wait(30)
        try:
            for turn in range(12):
                each.run(X=(numbers(1 + (17 * number + 31 * turn) % 100, seed=turn) > 0).astype(np.float32))
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []

"""Runs on a GPU, whose results are those of the CPU whatever way they are made."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from gpu.gpu_models import BATCH, TOLERANCE, ZOO, Model, assert_close, run, sample

pytestmark = pytest.mark.gpu

MakeModel = Callable[[str], Model]
Open = Callable[..., Any]

# The largest batch, sizes that are recorded as graphs, and some that are filled up to these.
SIZES = (1, 2, 3, 5, BATCH, 1)


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
@pytest.mark.parametrize("name", ZOO)
def test_batches_come_to_what_the_cpu_makes_of_them(opened: Open, model: MakeModel, name: str, graphs: bool) -> None:
    engine = opened(model(name), graphs=graphs)
    context = engine.create_context()
    for seed, rows in enumerate(SIZES):
        values = sample(engine, rows, seed)
        took, (output,) = run(engine, context, [values])
        assert took.infer_ns > 0
        assert_close(output, model(name).on_cpu(values)[0])


@pytest.mark.parametrize("name", ["mlp", "efficientnet-lite0"])
def test_a_plan_in_fp16_is_within_a_hundredth_of_the_cpu(plan: Any, model: MakeModel, name: str) -> None:
    from yais.engines import open_engine

    engine = open_engine(plan(model(name), precision="fp16"))
    values = sample(engine, BATCH)
    _, (output,) = run(engine, engine.create_context(), [values])
    expected = model(name).on_cpu(values)[0]
    assert_close(output, expected, 2 * TOLERANCE)
    assert not np.array_equal(output, expected)


@pytest.mark.parametrize("name", ["mlp", "efficientnet-lite0"])
def test_graphs_come_to_what_runs_without_do(opened: Open, model: MakeModel, name: str) -> None:
    with_graphs, without = (opened(model(name), graphs=graphs) for graphs in (True, False))
    first, second = with_graphs.create_context(), without.create_context()
    for rows in (1, 2, 4, BATCH):
        values = sample(with_graphs, rows, rows)
        outputs = [run(engine, context, [values])[1] for engine, context in ((with_graphs, first), (without, second))]
        assert_close(outputs[0][0], outputs[1][0], 1e-3)


@pytest.mark.parametrize(("rows", "padding"), [(1, 0), (2, 0), (3, 1), (5, 3), (BATCH, 0)])
def test_a_batch_is_filled_up_to_the_next_that_is_recorded_and_nobody_sees_it(
    opened: Open, model: MakeModel, rows: int, padding: int
) -> None:
    engine = opened(model("mlp"))
    context = engine.create_context()
    run(engine, context, [sample(engine, BATCH, seed=1)])
    context.outputs["OUTPUT0"][:] = 7
    took, (output,) = run(engine, context, [sample(engine, rows)])
    assert took.padding == padding
    assert_close(output, model("mlp").on_cpu(sample(engine, rows))[0])
    assert (context.outputs["OUTPUT0"][rows:] == 7).all()


@pytest.mark.parametrize("workspaces", [1, 3, 8])
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
def test_eight_contexts_at_once_do_not_mix(opened: Open, model: MakeModel, graphs: bool, workspaces: int) -> None:
    engine = opened(model("mlp"), contexts=8, workspaces=workspaces, graphs=graphs)
    barrier = Barrier(8)

    def work(number: int) -> None:
        context = engine.create_context()
        batches = [sample(engine, 1 + (number + turn) % BATCH, 100 * number + turn) for turn in range(20)]
        expected = [model("mlp").on_cpu(values)[0] for values in batches]
        barrier.wait(60)
        for values, right in zip(batches, expected, strict=True):
            assert_close(run(engine, context, [values])[1][0], right)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_rows_of_any_length_are_served(opened: Open, model: MakeModel) -> None:
    engine = opened(model("sums"))
    context = engine.create_context()
    rng = np.random.default_rng(0)
    for rows, length in ((1, 1), (3, 4096), (2, 7), (BATCH, 16), (1, 1)):
        first, second = (rng.random((rows, length), np.float32) for _ in range(2))
        _, (total,) = run(engine, context, [first, second])
        assert_close(total, first + second, 1e-6)


def test_a_shape_that_a_run_decides_is_told_anew_each_time(opened: Open, model: MakeModel) -> None:
    engine = opened(model("places"))
    context = engine.create_context()
    for length, every in ((10, 3), (1 << 20, 2), (10, 1), (5, 6), (1000, 7)):
        values = (np.arange(1, length + 1) % every == 0).astype(np.float32)
        _, (places,) = run(engine, context, [values])
        assert places.dtype == np.int64
        np.testing.assert_array_equal(places, np.flatnonzero(values)[np.newaxis])

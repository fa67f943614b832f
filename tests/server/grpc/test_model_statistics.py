import asyncio

from server.fake_engine import FakeEngine, Serve, options
from server.fake_requests import request
from yais.server.grpc.v2 import model_statistics
from yais.server.metrics.recorder import InferenceRecorder
from yais.server.models.model import Model


def run(recorder: InferenceRecorder, rows: list[int], output_ns: int, now: int) -> None:
    """One run of requests that all arrived at 0, were queued at 10 and taken at 100."""
    sent = [request(*range(count)) for count in rows]
    for each in sent:
        each.arrived, each.queued = 0, 10
    recorder.record(
        rows=sum(rows), started=100, input_ns=20, infer_ns=3000, output_ns=output_ns, now=now, answered=sent
    )


async def test_each_request_of_a_batch_is_charged_all_of_its_compute_time(serve: Serve) -> None:
    model = serve(FakeEngine())
    run(model.recorder, [1, 2], output_ns=5, now=4000)
    run(model.recorder, [3], output_ns=7, now=5000)
    run(model.recorder, [1], output_ns=9, now=6000)
    model.recorder.fail("OTHER", 11)
    model.recorder.fail("REJECTED", 13)
    statistics = model_statistics(model)
    assert (statistics.name, statistics.version) == ("m", "1")
    assert (statistics.inference_count, statistics.execution_count) == (7, 3)
    stats = statistics.inference_stats
    assert (stats.success.count, stats.success.ns) == (4, 4000 + 4000 + 5000 + 6000)
    assert (stats.fail.count, stats.fail.ns) == (2, 24)
    assert (stats.queue.count, stats.queue.ns) == (4, 4 * 90)
    assert (stats.compute_input.count, stats.compute_input.ns) == (4, 4 * 20)
    assert (stats.compute_infer.count, stats.compute_infer.ns) == (4, 4 * 3000)
    assert (stats.compute_output.count, stats.compute_output.ns) == (4, 5 + 5 + 7 + 9)


async def test_every_batch_size_has_its_own_sums_in_ascending_order(serve: Serve) -> None:
    model = serve(FakeEngine())
    for rows in ([1, 2], [3], [1]):
        run(model.recorder, rows, output_ns=5, now=4000)
    batches = [
        (
            batch.batch_size,
            batch.compute_input.count,
            batch.compute_input.ns,
            batch.compute_infer.ns,
            batch.compute_output.ns,
        )
        for batch in model_statistics(model).batch_stats
    ]
    assert batches == [(1, 1, 20, 3000, 5), (3, 2, 40, 6000, 10)]
    for batch in model_statistics(model).batch_stats:
        assert batch.compute_input.count == batch.compute_infer.count == batch.compute_output.count


async def test_a_model_that_did_nothing_has_zeros() -> None:
    model = Model("m", FakeEngine(), options(), asyncio.get_running_loop())
    statistics = model_statistics(model)
    assert statistics.last_inference == statistics.inference_count == statistics.execution_count == 0
    assert statistics.inference_stats.success.count == statistics.inference_stats.fail.count == 0
    assert len(statistics.batch_stats) == 0

import asyncio
import logging
from collections.abc import Mapping

import numpy as np
import pytest

from server.fake_engine import LONG_NS, FakeEngine, Gate, Serve, fixed, options
from server.fake_requests import FakeRequest, assert_answered, replies, request, requests
from yais.engines import Array, DeviceLostError, EngineError, InvalidInputError, TensorSpec
from yais.server.config import ModelSettings
from yais.server.errors import EngineFailureError, LostDeviceError
from yais.server.metrics.recorder import STAGES
from yais.server.models.model import Model, ModelOptions

STRINGS = np.dtype(np.object_)


def test_the_options_are_those_of_the_configuration() -> None:
    settings = ModelSettings(
        contexts=3, buffers=5, threads=None, max_batch_size=None, max_queue_delay=0.002, max_queue_size=77
    )
    assert ModelOptions.of(settings) == ModelOptions(3, 5, 2_000_000, 77)


async def test_there_are_as_many_contexts_as_buffers_each_warmed_up_with_one_row_of_zeros(serve: Serve) -> None:
    engine = FakeEngine(**fixed(2))
    serve(engine, options(contexts=2, buffers=5))
    assert len(engine.contexts) == 5
    assert [run.values for run in engine.runs] == [[0, 0]] * 5
    assert engine.overlaps == 0


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSpec("X", np.dtype(np.int64), (-1,)),),
        (TensorSpec("X", STRINGS, (2,)),),
        (TensorSpec("X", np.dtype(np.int64), (2,)), TensorSpec("Z", STRINGS, (2,))),
    ],
    ids=["free dimension", "strings", "strings beside numbers"],
)
async def test_a_model_whose_inputs_cannot_be_guessed_is_not_warmed_up(
    serve: Serve, inputs: tuple[TensorSpec, ...]
) -> None:
    engine = FakeEngine(inputs=inputs)
    serve(engine)
    assert engine.runs == []


async def test_a_warm_up_that_fails_is_logged_and_does_not_keep_the_model_from_being_served(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_at_first(rows: Array) -> None:
        if len(engine.runs) == 1:
            raise EngineError("not with zeros")

    engine = FakeEngine(**fixed(1), on_run=fail_at_first)
    model = serve(engine, options(buffers=1))
    assert caplog.record_tuples == [
        ("yais.server.models.model", logging.WARNING, "A run on zeros failed: not with zeros")
    ]
    answered = request(1)
    model.pool.add(answered)
    await replies(answered)
    np.testing.assert_array_equal(answered.replies[0], [[3]])


async def test_a_model_that_does_not_batch_serves_each_request_alone(serve: Serve) -> None:
    engine = FakeEngine(max_batch_size=0)
    model = serve(engine)
    sent = [request(number) for number in (1, 2, 3)]
    for each in sent:
        model.pool.add(each)
    await replies(*sent)
    assert sorted(run.values for run in engine.runs) == [[1], [2], [3]]


async def test_what_a_batch_took_is_recorded_for_each_of_its_requests(serve: Serve) -> None:
    engine = FakeEngine(max_batch_size=4)
    model = serve(engine, options(delay=10**15))
    sent = [request(1, 2, 3), request(4)]
    for each in sent:
        model.pool.add(each)
    await replies(*sent)
    await asyncio.sleep(0)
    recorder = model.recorder.read()
    assert (recorder.successes, recorder.inference_count, recorder.execution_count) == (2, 4, 1)
    assert recorder.duration_ns[3] == 2 * LONG_NS
    assert recorder.batches[4].infer_ns == LONG_NS


@pytest.mark.usefixtures("still_clock")
async def test_what_a_device_took_for_copies_and_padding_is_recorded(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yais.server.models.pool.monotonic_ns", lambda: 0)
    engine = FakeEngine(max_batch_size=4, run_ns=lambda: 700, copies_ns=(20, 3), padding=5)
    model = serve(engine, options(delay=10**15))
    sent = [request(1, 2, 3), request(4)]
    for each in sent:
        model.pool.add(each)
    await replies(*sent)
    await asyncio.sleep(0)
    recorder = model.recorder.read()
    assert dict(zip(STAGES[2:], recorder.duration_ns[2:].tolist(), strict=True)) == {
        "input": 2 * 20,
        "infer": 2 * 700,
        "output": 2 * 3,
    }
    assert (recorder.batches[4].input_ns, recorder.batches[4].infer_ns, recorder.batches[4].output_ns) == (20, 700, 3)
    assert (recorder.inference_count, recorder.padded_rows) == (4, 5)


async def test_once_a_device_is_lost_all_that_waits_and_all_that_comes_is_told_so(serve: Serve, gate: Gate) -> None:
    def fail(rows: Array) -> None:
        gate.pass_through(rows)
        raise DeviceLostError("GPU 0 is lost")

    found: list[LostDeviceError] = []
    engine = FakeEngine(max_batch_size=2, on_run=fail, device="cuda:0")
    model = Model("m", engine, options(), asyncio.get_running_loop(), found.append)
    model.pool.start()
    first, *waiting, last = requests(6)
    model.pool.add(first)
    gate.wait_for_runs(1)
    for each in waiting:
        model.pool.add(each)
    gate.open()
    await replies(first, *waiting)
    model.pool.add(last)
    await replies(last)
    model.pool.close()
    for each in (first, *waiting, last):
        assert [(type(reply), str(reply)) for reply in each.replies] == [(LostDeviceError, "GPU 0 is lost")]
    assert [run.values for run in engine.runs] == [[1], [2, 3], [4, 5], [6]]
    assert [str(error) for error in found] == ["GPU 0 is lost"] * 4


@pytest.mark.parametrize("error", [EngineError("it broke"), InvalidInputError("too wide")], ids=["engine", "input"])
async def test_a_run_that_fails_is_no_lost_device(error: EngineError) -> None:
    def fail_at_first(rows: Array) -> None:
        if len(engine.runs) == 1:
            raise error

    found: list[LostDeviceError] = []
    engine = FakeEngine(on_run=fail_at_first, device="cuda:0")
    model = Model("m", engine, options(), asyncio.get_running_loop(), found.append)
    model.pool.start()
    refused, answered = requests(2)
    for each in (refused, answered):
        model.pool.add(each)
        await replies(each)
    model.pool.close()
    assert str(refused.replies[0]) == str(error)
    assert_answered(answered)
    assert found == []


async def test_a_model_is_in_version_1_and_knows_its_signature() -> None:
    model = Model("flowers", FakeEngine(), options(), asyncio.get_running_loop())
    assert (model.name, model.version, model.pool.waiting) == ("flowers", "1", 0)
    assert model.signature.model == "flowers"
    assert (model.recorder.model, model.recorder.version) == ("flowers", "1")


async def test_a_result_that_cannot_be_made_an_answer_fails_alone(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    model = serve(FakeEngine(max_batch_size=2), options(delay=10**15))
    broken, company = Unanswerable(np.array([[1]])), request(2)
    model.pool.add(broken)
    model.pool.add(company)
    await replies(broken, company)
    np.testing.assert_array_equal(company.replies[0], [[5]])
    (refusal,) = broken.replies
    assert isinstance(refusal, EngineFailureError)
    assert str(refusal) == "The result could not be encoded; the server's log tells more"
    assert "ZeroDivisionError" in caplog.text
    assert model.recorder.read().successes == 1


class Unanswerable(FakeRequest):
    def answer(self, outputs: Mapping[str, Array], row: int) -> None:
        raise ZeroDivisionError

"""A whole server whose GPU is lost while it serves."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from server.fake_engine import FakeEngine, Gate, fixed
from server.running_server import HOST, Launch, Running, in_flight, request
from yais.engines import Array, DeviceLostError, EngineError
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.server import service as service_module
from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.models import opening
from yais.server.service import Service

LOST = "GPU 0 is lost: its context broke 4 times in a row"
DRAINING = "GRPC server is shutting down and has stopped accepting new requests."


def lose(rows: Array) -> None:
    raise DeviceLostError(LOST)


@pytest.fixture
def gate(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A closed gate in front of the runs of model `m`; the device of model `lost` is lost at its first run."""
    gate = Gate()
    engines = {"m": FakeEngine(on_run=gate.pass_through), "lost": FakeEngine(on_run=lose, device="cuda:0")}
    monkeypatch.setattr(opening, "open_engine", lambda path, options: engines[path.stem])
    yield gate
    gate.open()


async def refusal(running: Running, model: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.infer(request(1, model=model), timeout=30)
    return caught.value.code(), caught.value.details() or ""


async def test_a_server_whose_gpu_is_lost_says_why_and_exits_with_a_code_of_its_own(
    launch: Launch, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.on_run = lose
    running = await launch()
    assert await refusal(running, "m") == (grpc.StatusCode.UNAVAILABLE, LOST)
    assert await running.end() == ExitCode.LOST_DEVICE
    assert not running.server.is_hanging
    assert f"The device of an engine is gone: {LOST}" in caplog.messages


async def test_while_it_drains_other_models_answer_what_was_accepted_and_nobody_else_is_let_in(
    launch: Launch, gate: Gate
) -> None:
    running = await launch("m", "lost")
    assert await running.health() == HealthCheckResponse.SERVING
    accepted = await in_flight(running, gate)
    assert await refusal(running, "lost") == (grpc.StatusCode.UNAVAILABLE, LOST)
    for service in ("", "ready", "m", "lost"):
        assert await running.health(service) == HealthCheckResponse.NOT_SERVING
    assert (await running.http("/v2/health/ready"))[0] == 503
    for model in ("m", "lost"):
        assert await refusal(running, model) == (grpc.StatusCode.UNAVAILABLE, DRAINING)
    _, metrics = await running.http("/metrics")
    assert 'nv_inference_request_failure{model="lost",reason="BACKEND",version="1"} 1\n' in metrics
    assert 'nv_inference_request_failure{model="lost",reason="REJECTED",version="1"} 1\n' in metrics
    assert not running.ended.done()
    gate.open()
    assert len((await accepted).raw_output_contents) == 1
    assert await running.end() == ExitCode.LOST_DEVICE


async def test_a_lost_device_is_the_exit_code_of_a_drain_that_takes_too_long_as_well(
    launch: Launch, gate: Gate
) -> None:
    running = await launch("m", "lost", drain_timeout=0.01)
    accepted = await in_flight(running, gate)
    assert await refusal(running, "lost") == (grpc.StatusCode.UNAVAILABLE, LOST)
    assert await running.end() == ExitCode.LOST_DEVICE
    assert running.server.is_hanging
    with pytest.raises(grpc.aio.AioRpcError):
        await accepted


async def test_a_device_that_is_lost_in_a_drain_is_the_exit_code_as_well(launch: Launch, engine: FakeEngine) -> None:
    gate = Gate()

    def lose_at_the_gate(rows: Array) -> None:
        gate.pass_through(rows)
        lose(rows)

    engine.on_run = lose_at_the_gate
    running = await launch()
    accepted = await in_flight(running, gate)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(0)
    gate.open()
    with pytest.raises(grpc.aio.AioRpcError, match=LOST):
        await accepted
    assert await running.end() == ExitCode.LOST_DEVICE


async def test_a_signal_after_the_loss_is_the_first_one_and_lets_the_drain_go_on(launch: Launch, gate: Gate) -> None:
    running = await launch("m", "lost")
    accepted = await in_flight(running, gate)
    await refusal(running, "lost")
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(0)
    assert not running.ended.done()
    gate.open()
    assert len((await accepted).raw_output_contents) == 1
    assert await running.end() == ExitCode.LOST_DEVICE


async def test_a_device_that_is_lost_before_anything_is_served_is_a_failed_start(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(**fixed(1), on_run=lose, device="cuda:0")
    monkeypatch.setattr(opening, "open_engine", lambda path, options: engine)
    with pytest.raises(EngineError, match=rf"^engine 'm\.onnx': {LOST}$"):
        await launch()


@pytest.fixture
async def undrained(engine: FakeEngine) -> AsyncIterator[tuple[Service, list[str]]]:
    """A service that goes on when its device is lost, and a list that grows whenever it tells of that."""
    told: list[str] = []
    gc.freeze()
    service = Service(Config(["m.onnx"], host=HOST, port=0), lambda: told.append("lost"))
    await service.load()
    await service.listen()
    yield service, told
    gc.unfreeze()


async def test_a_service_tells_of_its_lost_device_once_and_goes_on_to_refuse(
    undrained: tuple[Service, list[str]], engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    service, told = undrained
    caplog.set_level(logging.WARNING, "yais.server")
    async with grpc.aio.insecure_channel(f"{HOST}:{service.port}") as channel:
        infer, check = GRPCInferenceServiceStub(channel).ModelInfer, HealthStub(channel).Check
        await infer(request(1), timeout=30)
        assert service.is_ready
        assert (await check(HealthCheckRequest(), timeout=30)).status == HealthCheckResponse.SERVING
        engine.on_run = lose
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError, match=LOST) as caught:
                await infer(request(1), timeout=30)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert not service.is_ready
            assert (await check(HealthCheckRequest(), timeout=30)).status == HealthCheckResponse.NOT_SERVING
    assert told == ["lost"]
    assert caplog.messages == [f"The device of an engine is gone: {LOST}"]
    assert await service.drain() == ExitCode.LOST_DEVICE


async def test_a_run_on_a_gpu_that_does_not_end_in_time_is_a_lost_gpu(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    engine = FakeEngine(on_run=gate.pass_through, device="cuda:0")
    monkeypatch.setattr(opening, "open_engine", lambda path, options: engine)
    running = await launch(run_timeout=0.05, drain_timeout=0.05)
    call = running.infer(request(1))
    assert await running.end() == ExitCode.LOST_DEVICE
    assert running.server.is_hanging
    text = "a run of 'm' on cuda:0 goes on for 0.05 s (--run-timeout)"
    assert f"The device of an engine is gone: {text}" in caplog.messages
    gate.open()
    with pytest.raises(grpc.aio.AioRpcError) as dropped:
        await call
    assert dropped.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@pytest.mark.parametrize(("device", "run_timeout"), [("cpu", 0.05), ("cuda:0", 0)])
async def test_runs_on_a_cpu_may_take_as_long_as_they_do_and_others_if_that_is_allowed(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, device: str, run_timeout: float
) -> None:
    watched: list[tuple[Any, ...]] = []
    monkeypatch.setattr(opening, "open_engine", lambda path, options: FakeEngine(device=device))
    monkeypatch.setattr(service_module, "watch", lambda *given: watched.append(given))
    running = await launch(run_timeout=run_timeout)
    assert (await running.infer(request(1))).model_name == "m"
    assert watched == []

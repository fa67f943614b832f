"""A whole server in this process, with fake engines, on loopback ports."""

import asyncio
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from server.fake_engine import FakeEngine, Gate
from server.running_server import HOST, Launch, in_flight, request
from yais.engines import EngineError, EngineOptions
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.listening import StartError
from yais.server.models import opening
from yais.server.server import Server
from yais.server.terminal import banner
from yais.version import version_text


@pytest.fixture
def gate(launch: Launch, engine: FakeEngine) -> Any:
    """A closed gate in front of the engine's runs."""
    gate = Gate()
    engine.on_run = gate.pass_through
    yield gate
    gate.open()


@pytest.mark.usefixtures("engine")
async def test_a_server_serves_until_a_signal_comes(launch: Launch) -> None:
    running = await launch("m", "other")
    for model in ("m", "other"):
        response = await running.infer(request(1, 2, model=model), timeout=30)
        assert np.frombuffer(response.raw_output_contents[0], "<i8").tolist() == [3, 5]
        assert await running.health(model) == HealthCheckResponse.SERVING
    assert await running.http("/v2/health/ready") == (200, "")
    _, metrics = await running.http("/metrics")
    assert 'nv_inference_request_success{model="other",version="1"} 1\n' in metrics
    assert "\nprocess_resident_memory_bytes " in metrics
    assert await running.stop() == ExitCode.DRAINED
    assert not running.server.is_hanging
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HOST, running.server.metrics_port))


async def test_engines_are_opened_for_all_contexts_of_all_models(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Path, EngineOptions]] = []

    def open_engine(path: Path, options: EngineOptions) -> FakeEngine:
        opened.append((path, options))
        return FakeEngine()

    monkeypatch.setattr(opening, "open_engine", open_engine)
    await launch("a", "b", contexts=3, threads=2, max_batch_size=5)
    assert opened == [(Path(f"{name}.onnx"), EngineOptions(3, runs=6, threads=2, max_batch_size=5)) for name in "ab"]


@pytest.mark.usefixtures("engine")
async def test_a_message_over_the_bound_is_refused_and_the_next_is_served(launch: Launch) -> None:
    running = await launch(max_message_size=1024)
    too_large = request(1)
    too_large.raw_input_contents.append(bytes(2000))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.infer(too_large, timeout=30)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await running.infer(request(1), timeout=30)).model_name == "m"


async def test_a_draining_server_answers_what_it_accepted_and_refuses_the_rest(
    launch: Launch, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "yais.server")
    running = await launch()
    accepted = await in_flight(running, gate)
    signal.raise_signal(signal.SIGINT)
    await asyncio.sleep(0)
    assert await running.health() == HealthCheckResponse.NOT_SERVING
    assert (await running.http("/v2/health/ready"))[0] == 503
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.infer(request(2), timeout=30)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "GRPC server is shutting down and has stopped accepting new requests."
    assert not running.ended.done()
    gate.open()
    assert len((await accepted).raw_output_contents) == 1
    assert await running.ended == ExitCode.DRAINED
    assert "Draining: 1 request(s) in flight" in caplog.messages


async def test_each_change_of_its_state_is_one_line_of_the_log(
    launch: Launch, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "yais.server")
    running = await launch("a", "b")
    await running.stop()
    lines = [record.message for record in caplog.records if not record.name.startswith("yais.server.models.")]
    (starting, first, second, ready, draining, drained, stopped) = lines
    assert starting.startswith(f"Starting YAIS {version_text()}: 2 engines, 1 process, transport ")
    assert first.startswith("Loaded 'a' from ")
    assert second.startswith("Loaded 'b' from ")
    port, metrics_port = running.server.port, running.server.metrics_port
    assert ready == f"Ready: gRPC on {HOST}:{port}, metrics on http://{HOST}:{metrics_port}/metrics"
    assert draining == "Draining: 0 request(s) in flight"
    assert re.fullmatch(r"Drained in \d+\.\d s", drained)
    assert stopped == "Stopped: exit code 0 (drained)"


@contextmanager
def hanging(gate: Gate) -> Iterator[threading.Event]:
    """Opens the gate after a while, lest a failing test hang as well; the event says that it came to that."""
    has_opened = threading.Event()

    def open_at_last() -> None:
        has_opened.set()
        gate.open()

    release = threading.Timer(3, open_at_last)
    release.start()
    yield has_opened
    release.cancel()


async def test_a_drain_that_takes_too_long_is_given_up_although_the_engine_hangs(
    launch: Launch, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    running = await launch(drain_timeout=0.01)
    accepted = await in_flight(running, gate)
    with hanging(gate) as has_opened:
        assert await running.stop() == ExitCode.UNANSWERED
        assert not has_opened.is_set()
    assert running.server.is_hanging
    with pytest.raises(grpc.aio.AioRpcError):
        await accepted
    assert "--drain-timeout of 0.01 s is over: dropping 1 request(s)" in caplog.messages


async def test_a_run_that_hangs_after_its_caller_has_gone_holds_no_drain_up(launch: Launch, gate: Gate) -> None:
    running = await launch(drain_timeout=0.01)
    accepted = await in_flight(running, gate)
    accepted.cancel()
    while "yais_executor_queue_depth 0\n" not in (await running.http("/metrics"))[1]:
        pass
    with hanging(gate) as has_opened:
        await running.stop()
        assert not has_opened.is_set()


async def test_a_second_signal_exits_at_once(
    launch: Launch, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(os, "_exit", exited.set_result)
    running = await launch()
    accepted = await in_flight(running, gate)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        assert await exited == 128 + signal.SIGINT
    assert "SIGINT again: exiting at once, 1 request(s) unanswered" in caplog.messages
    gate.open()
    await accepted
    assert await running.ended == ExitCode.DRAINED


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("flag", ["port", "metrics"])
async def test_a_port_that_is_taken_is_a_failed_start_that_names_the_flag(flag: str) -> None:
    with socket.create_server((HOST, 0)) as taken:
        number = taken.getsockname()[1]
        settings = replace(Config(["m.onnx"], host=HOST, port=0, metrics=0), **{flag: number})
        with pytest.raises(StartError, match=f"^--{flag}: cannot listen on {HOST}:{number}: "):
            await Server(settings).start()


async def test_an_engine_that_cannot_be_opened_is_a_failed_start(tmp_path: Path) -> None:
    settings = Config([tmp_path / "missing.onnx"], host=HOST, port=0, metrics=0)
    with pytest.raises(EngineError, match="no such file"):
        await Server(settings).start()


async def test_an_engine_without_room_for_its_contexts_is_a_failed_start_that_names_it(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_context() -> None:
        raise EngineError("no memory")

    monkeypatch.setattr(engine, "create_context", create_context)
    with pytest.raises(EngineError, match=r"^engine 'm\.onnx': no memory$"):
        await Server(Config(["m.onnx"], host=HOST, port=0, metrics=0)).start()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("engine")
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_a_server_listens_on_an_ipv6_address(launch: Launch) -> None:
    running = await launch(host="::1")
    async with grpc.aio.insecure_channel(f"[::1]:{running.server.port}") as channel:
        assert (await GRPCInferenceServiceStub(channel).ModelInfer(request(1), timeout=30)).model_name == "m"
    socket.create_connection(("::1", running.server.metrics_port)).close()
    assert f"http://[::1]:{running.server.metrics_port}/metrics" in banner(running.server)

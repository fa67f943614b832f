"""A worker's side of the talk with its supervisor, in this process, with fake engines."""

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np
import pytest

from server.fake_engine import FakeEngine, Gate
from yais.engines import Array, DeviceLostError, EngineOptions
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.server import worker as worker_module
from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.ipc import Command, DeviceLoss, MessagePipe, Setup, StartFailure
from yais.server.listening import port_of, reserve
from yais.server.log import LogSettings
from yais.server.metrics.process_stats import ProcessStats
from yais.server.models import opening

HOST = "127.0.0.1"


@dataclass
class Talk:
    """The supervisor's end of the pipe of a worker that runs in a task."""

    pipe: MessagePipe
    port: int
    task: "asyncio.Task[tuple[ExitCode, bool]]"

    async def ask(self, message: object) -> Any:
        self.pipe.send(message)
        async with asyncio.timeout(30):
            return await self.pipe.receive()

    async def end(self) -> tuple[ExitCode, bool]:
        async with asyncio.timeout(30):
            return await self.task

    async def infer(self) -> int:
        request = pb.ModelInferRequest(model_name="m", raw_input_contents=[np.array([1], "<i8").tobytes()])
        request.inputs.add(name="X", datatype="INT64", shape=[1, 1])
        async with grpc.aio.insecure_channel(f"{HOST}:{self.port}") as channel:
            answer = await GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)
        return int(np.frombuffer(answer.raw_output_contents[0], "<i8")[0])

    def setup(self, **changes: Any) -> Setup:
        settings = Config(["m.onnx"], **({"host": HOST, "port": 0, "metrics": 0, "workers": 2} | changes))
        return Setup(2, settings, self.port, LogSettings())


def lose(rows: Array) -> NoReturn:
    raise DeviceLostError("GPU 0 is lost")


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    gc.freeze()
    reserved = reserve(Config(["m.onnx"], host=HOST, port=0, metrics=0))
    ours, its = socket.socketpair()
    pipe = await MessagePipe.open(ours)
    talk = Talk(pipe, port_of(reserved), asyncio.create_task(worker_module._work(its)))
    yield talk
    await pipe.close()
    await asyncio.wait([talk.task], timeout=30)
    for sock in reserved:
        sock.close()
    gc.unfreeze()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_worker_serves_and_reports_statistics_on_command(talk: Talk, transport: str) -> None:
    assert list(await talk.ask(talk.setup(transport=transport))) == ["m"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, talk.port))
    assert isinstance(await talk.ask(Command.READ), ProcessStats)
    assert await talk.ask(Command.LISTEN) is None
    assert await talk.infer() == 3
    stats = await talk.ask(Command.READ)
    assert [(each.model, each.successes) for each in stats.recorders] == [("m", 1)]
    assert (stats.waiting, stats.in_flight) == ({"m": 0}, 0)
    assert "process_cpu_seconds" in {family.name for family in stats.process}
    last = await talk.ask(Command.DRAIN)
    assert last.recorders[0].successes == 1
    with pytest.raises(EOFError):
        await talk.pipe.receive()
    assert await talk.end() == (ExitCode.DRAINED, False)


async def test_statistics_are_sent_during_a_drain_and_at_its_end(talk: Talk, engine: FakeEngine) -> None:
    gate = Gate()
    await talk.ask(talk.setup())
    engine.on_run = gate.pass_through
    await talk.ask(Command.LISTEN)
    running = asyncio.create_task(talk.infer())
    await asyncio.to_thread(gate.wait_for_runs, 1)
    talk.pipe.send(Command.DRAIN)
    assert (await talk.ask(Command.READ)).in_flight == 1
    gate.open()
    assert await running == 3
    assert (await talk.pipe.receive()).recorders[0].successes == 1
    assert await talk.end() == (ExitCode.DRAINED, False)


async def test_a_run_that_hangs_makes_the_worker_say_so(talk: Talk, engine: FakeEngine) -> None:
    gate = Gate()
    await talk.ask(talk.setup(drain_timeout=0.01))
    engine.on_run = gate.pass_through
    await talk.ask(Command.LISTEN)
    running = asyncio.create_task(talk.infer())
    await asyncio.to_thread(gate.wait_for_runs, 1)
    await talk.ask(Command.DRAIN)
    assert await talk.end() == (ExitCode.UNANSWERED, True)
    gate.open()
    with pytest.raises(grpc.aio.AioRpcError):
        await running


@pytest.mark.usefixtures("engine")
async def test_a_worker_whose_supervisor_has_gone_drains(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yais.server")
    await talk.ask(talk.setup())
    await talk.ask(Command.LISTEN)
    assert await talk.infer() == 3
    await talk.pipe.close()
    assert await talk.end() == (ExitCode.DRAINED, False)
    assert caplog.messages.count("The supervisor has gone") == 1
    assert "Draining: 0 request(s) in flight" in caplog.messages


@pytest.mark.usefixtures("engine")
async def test_a_worker_that_never_served_has_nothing_to_drain(talk: Talk) -> None:
    await talk.ask(talk.setup())
    await talk.pipe.close()
    assert await talk.end() == (ExitCode.DRAINED, False)


async def test_a_worker_that_loses_its_device_says_so_and_drains(talk: Talk, engine: FakeEngine) -> None:
    engine.on_run = lose
    await talk.ask(talk.setup())
    await talk.ask(Command.LISTEN)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.infer()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, "GPU 0 is lost")
    assert await talk.pipe.receive() == DeviceLoss()
    assert (await talk.pipe.receive()).recorders[0].failures["BACKEND"] == 1
    assert await talk.end() == (ExitCode.LOST_DEVICE, False)


async def test_a_worker_that_has_lost_its_device_sends_statistics_until_the_end(talk: Talk, engine: FakeEngine) -> None:
    gate = Gate()

    def lose_all_but_the_first(rows: Array) -> None:
        if len(engine.runs) > 1:
            lose(rows)
        gate.pass_through(rows)

    engine.on_run = lose_all_but_the_first
    await talk.ask(talk.setup(contexts=2))
    await talk.ask(Command.LISTEN)
    running = asyncio.create_task(talk.infer())
    await asyncio.to_thread(gate.wait_for_runs, 1)
    with pytest.raises(grpc.aio.AioRpcError, match="GPU 0 is lost"):
        await talk.infer()
    assert await talk.pipe.receive() == DeviceLoss()
    assert (await talk.ask(Command.READ)).in_flight == 1
    # What the supervisor says to all workers.
    talk.pipe.send(Command.DRAIN)
    for _ in range(2):
        assert (await talk.ask(Command.READ)).in_flight == 1
    gate.open()
    assert await running == 3
    assert (await talk.pipe.receive()).recorders[0].successes == 1
    assert await talk.end() == (ExitCode.LOST_DEVICE, False)


async def test_a_device_that_is_lost_in_a_drain_is_the_end_of_that(talk: Talk, engine: FakeEngine) -> None:
    gate = Gate()

    def lose_at_the_gate(rows: Array) -> None:
        gate.pass_through(rows)
        lose(rows)

    engine.on_run = lose_at_the_gate
    await talk.ask(talk.setup())
    await talk.ask(Command.LISTEN)
    running = asyncio.create_task(talk.infer())
    await asyncio.to_thread(gate.wait_for_runs, 1)
    talk.pipe.send(Command.DRAIN)
    assert (await talk.ask(Command.READ)).in_flight == 1
    gate.open()
    with pytest.raises(grpc.aio.AioRpcError, match="GPU 0 is lost"):
        await running
    assert (await talk.pipe.receive()).recorders[0].failures["BACKEND"] == 1
    assert await talk.end() == (ExitCode.LOST_DEVICE, False)


async def test_a_worker_can_lose_its_device_and_its_supervisor(talk: Talk, engine: FakeEngine) -> None:
    engine.on_run = lose
    await talk.ask(talk.setup())
    await talk.ask(Command.LISTEN)
    with pytest.raises(grpc.aio.AioRpcError, match="GPU 0 is lost"):
        await talk.infer()
    await talk.pipe.close()
    assert await talk.end() == (ExitCode.LOST_DEVICE, False)


async def test_an_engine_that_cannot_be_opened_is_told_to_the_supervisor(talk: Talk) -> None:
    assert await talk.ask(talk.setup()) == StartFailure("engine 'm.onnx': no such file")
    assert await talk.end() == (ExitCode.FAILED_START, False)


@pytest.mark.usefixtures("engine")
async def test_a_port_that_cannot_be_had_is_told_to_the_supervisor(talk: Talk) -> None:
    with socket.create_server((HOST, 0)) as taken:
        talk.port = taken.getsockname()[1]
        await talk.ask(talk.setup())
        failure = await talk.ask(Command.LISTEN)
    assert failure.reason.startswith(f"--port: cannot listen on {HOST}:{talk.port}: ")
    assert await talk.end() == (ExitCode.FAILED_START, False)


async def test_the_cores_are_shared_out_among_all_workers(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[EngineOptions] = []

    def open_engine(path: Path, options: EngineOptions) -> FakeEngine:
        opened.append(options)
        return FakeEngine()

    monkeypatch.setattr(opening, "open_engine", open_engine)
    await talk.ask(talk.setup(contexts=3, workers=4))
    assert opened == [EngineOptions(3, runs=12)]

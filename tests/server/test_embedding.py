"""A server inside of another program: in its loop, in a thread, several of them, and with nothing left behind."""

import asyncio
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import psutil
import pytest
import uvloop
from onnx import TensorProto, helper

import yais.server
from server.fake_engine import FakeEngine, Gate
from server.running_server import HOST, request
from yais import transport
from yais.engines import EngineOptions
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from yais.server import Config, EngineError, ExitCode, Server, StartError
from yais.server.models import opening
from yais.server.testing import run_in_thread

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Adds 1."""
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "one"], ["Y"])],
        "add",
        [helper.make_tensor_value_info("X", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("Y", TensorProto.INT64, ["batch", 1])],
        [one],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def local(*engines: Path | str, **settings: Any) -> Config:
    return Config(engines, **({"host": HOST, "port": 0, "metrics": 0} | settings))


async def ask(server: Server) -> list[int]:
    async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
        response = await GRPCInferenceServiceStub(channel).ModelInfer(request(1, 2), timeout=30)
    return np.frombuffer(response.raw_output_contents[0], "<i8").tolist()


def is_closed(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("transport_name", ["native", "grpcio"])
def test_a_server_serves_in_somebody_elses_loop_while_a_block_runs(model: Path, run: Run, transport_name: str) -> None:
    async def main() -> tuple[int, int]:
        async with Server(local(model, transport=transport_name)) as server:
            assert await ask(server) == [2, 3]
            assert list(server.models) == ["m"]
            assert "batches of up to 8" in server.models["m"]
            return server.port, server.metrics_port

    assert all(map(is_closed, run(main())))


def test_two_servers_serve_at_once_and_one_goes_on_when_the_other_has_stopped(model: Path) -> None:
    async def main() -> None:
        async with Server(local(model)) as first:
            async with Server(local(f"m={model}")) as second:
                assert first.port != second.port
                assert await ask(first) == await ask(second) == [2, 3]
            assert is_closed(second.port)
            assert await ask(first) == [2, 3]

    asyncio.run(main())


def test_a_server_that_has_stopped_can_be_started_again_in_another_loop(model: Path) -> None:
    server = Server(local(model))
    assert (server.port, server.metrics_port, dict(server.models)) == (0, 0, {})

    async def once() -> None:
        await server.start()
        assert await ask(server) == [2, 3]
        assert await server.stop() == ExitCode.DRAINED

    for _ in range(2):
        asyncio.run(once())


async def test_a_server_is_started_and_stopped_in_turn(model: Path) -> None:
    server = Server(local(model))
    with pytest.raises(RuntimeError, match="not running"):
        await server.stop()
    async with server:
        with pytest.raises(RuntimeError, match="started already"):
            await server.start()
    with pytest.raises(RuntimeError, match="not running"):
        await server.stop()


def test_a_thread_serves_for_tests_without_asyncio(model: Path) -> None:
    with run_in_thread(local(model)) as server:
        with grpc.insecure_channel(f"{HOST}:{server.port}") as channel:
            response = GRPCInferenceServiceStub(channel).ModelInfer(request(4), timeout=30)
        assert np.frombuffer(response.raw_output_contents[0], "<i8").tolist() == [5]
        assert not is_closed(server.metrics_port)
    assert is_closed(server.port)
    assert not any(thread.name == "yais-server" for thread in threading.enumerate())


def test_a_thread_that_cannot_serve_gives_its_error_to_its_caller(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such file"), run_in_thread(local(tmp_path / "missing.onnx")):
        pytest.fail("has started")
    assert not any(thread.name == "yais-server" for thread in threading.enumerate())


def test_an_error_of_the_block_ends_the_server(model: Path) -> None:
    with pytest.raises(KeyError), run_in_thread(local(model)) as server:
        raise KeyError
    assert is_closed(server.port)


def process_settings() -> tuple[Any, ...]:
    """What belongs to the process as a whole."""
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    root = logging.getLogger()
    filters = list(logging.getLogger("grpc._cython.cygrpc").filters)
    return (
        handlers,
        gc.get_threshold(),
        gc.get_freeze_count(),
        dict(os.environ),
        root.level,
        list(root.handlers),
        filters,
    )


@pytest.mark.parametrize("transport_name", ["native", "grpcio"])
def test_the_process_is_left_as_it_is(model: Path, monkeypatch: pytest.MonkeyPatch, transport_name: str) -> None:
    def keep_freed() -> None:
        pytest.fail("the allocator is the process's")

    monkeypatch.setattr(transport, "keep_freed", keep_freed)

    async def main() -> None:
        # Here, since asyncio has a handler of its own for Ctrl-C.
        before = process_settings()
        async with Server(local(model, transport=transport_name)) as server:
            assert await ask(server) == [2, 3]
            assert process_settings() == before
        assert process_settings() == before

    asyncio.run(main())


def threads() -> set[str]:
    """Those that end with a server: asyncio's pool is the loop's, and grpc.aio's poller serves the whole process."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("asyncio_") and "_poll_wrapper" not in name}


@pytest.mark.parametrize("flag", ["port", "metrics"])
@pytest.mark.parametrize("transport_name", ["native", "grpcio"])
async def test_nothing_is_left_of_a_start_that_fails(
    model: Path, monkeypatch: pytest.MonkeyPatch, flag: str, transport_name: str
) -> None:
    engines: list[FakeEngine] = []

    def open_engine(path: Path, options: EngineOptions) -> FakeEngine:
        engines.append(FakeEngine())
        return engines[-1]

    monkeypatch.setattr(opening, "open_engine", open_engine)
    before = threads()
    with socket.create_server((HOST, 0)) as taken:
        config = local("a", "b", transport=transport_name, **{flag: taken.getsockname()[1]})
        server = Server(config)
        with pytest.raises(StartError, match=f"^--{flag}: cannot listen on"):
            await server.start()
    assert threads() <= before
    assert [engine.closed for engine in engines] == [1, 1]
    assert server.port == 0
    assert not server.models


async def test_a_second_engine_that_cannot_be_loaded_ends_what_the_first_has_begun(model: Path, tmp_path: Path) -> None:
    before = threads()
    with pytest.raises(EngineError, match="no such file"):
        await Server(local(model, tmp_path / "missing.onnx")).start()
    assert threads() <= before


async def test_a_worker_that_cannot_start_leaves_no_process_behind(tmp_path: Path) -> None:
    server = Server(local(tmp_path / "missing.onnx", workers=2))
    with pytest.raises(StartError, match="no such file"):
        await server.start()
    children = psutil.Process().children()
    assert not any("yais.server.worker" in child.cmdline() for child in children)


async def test_engines_are_closed_when_their_server_stops_unless_they_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, gate = FakeEngine(), Gate()
    monkeypatch.setattr(opening, "open_engine", lambda path, options: engine)
    async with Server(local("m", drain_timeout=0.05)) as server:
        assert await ask(server) == [3, 5]
    assert engine.closed == 1
    monkeypatch.setattr("yais.server.service._FLUSH_S", 0.05)
    engine.on_run = gate.pass_through
    await server.start()
    call = asyncio.ensure_future(ask(server))
    await asyncio.to_thread(gate.wait_for_runs, 1)
    call.cancel()
    await server.stop()
    assert (server.is_hanging, engine.closed) == (True, 1)
    gate.open()


def test_the_package_names_its_entries_and_imports_none_before_it_is_asked() -> None:
    assert all(getattr(yais.server, name) is not None for name in yais.server.__all__)
    assert set(yais.server.__all__) <= set(dir(yais.server))
    with pytest.raises(AttributeError, match="has no attribute 'Sever'"):
        yais.server.Sever  # noqa: B018
    code = (
        "import sys, yais.server; print([name for name in sys.modules if name.startswith(('grpc', 'numpy', 'yais.'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['yais.server']\n"

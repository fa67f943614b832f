import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from server.fake_engine import FakeEngine, Gate, Serve, options
from server.running_server import HOST, Launch, Running
from server.running_service import Service
from server.settings_command import Command
from yais.server import cli
from yais.server import service as service_module
from yais.server.config import Config
from yais.server.grpc.server import TransportName
from yais.server.models import opening
from yais.server.models.model import Model, ModelOptions


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment: `make test` sets variables for the tests, of which the server would warn."""
    for name in [name for name in os.environ if name.startswith("YAIS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command()
    monkeypatch.setattr(cli, "_serve", command.serve)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    return command


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Makes started models of engines, which are closed again after the test."""
    models = []

    def start(engine: FakeEngine, pool: ModelOptions | None = None) -> Model:
        models.append(Model("m", engine, pool or options(), asyncio.get_running_loop()))
        models[-1].pool.start()
        return models[-1]

    yield start
    for model in models:
        model.pool.close()


@pytest.fixture
def gate(serve: Serve) -> Iterator[Gate]:
    """A closed gate, opened before the models are closed."""
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every run take exactly as long as its engine says, however busy the machine is: it is always 0 o'clock."""
    for module in ("execution", "pool"):
        monkeypatch.setattr(f"yais.server.models.{module}.monotonic_ns", lambda: 0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What every engine file turns out to be."""
    engine = FakeEngine()
    monkeypatch.setattr(opening, "open_engine", lambda path, options: engine)
    return engine


@pytest.fixture
async def launch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launch]:
    """Starts servers on free ports; one that still runs after the test is stopped.

    In the end they wait only briefly for what hangs.
    """
    monkeypatch.setattr(service_module, "_FLUSH_S", 0.05)
    started: list[Running] = []
    # As the server itself does, but before it has gone through all that there is.
    gc.freeze()

    async def start(*names: str, **changes: Any) -> Running:
        paths = [f"{name}.onnx" for name in names or ("m",)]
        settings = Config(paths, **({"host": HOST, "port": 0, "metrics": 0} | changes))
        started.append(await Running(settings).start())
        return started[-1]

    yield start
    for running in started:
        await running.stop()
        await running.close()
    gc.unfreeze()


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> TransportName:
    return request.param


@pytest.fixture
async def service(serve: Serve, transport: TransportName) -> AsyncIterator[Service]:
    async with Service(serve(FakeEngine()), transport).run(transport, 1024) as service:
        yield service


@pytest.fixture(params=[False, True], ids=["parsed", "by template"])
def by_template(request: pytest.FixtureRequest) -> bool:
    """Whether requests of ModelInfer have a template."""
    return request.param

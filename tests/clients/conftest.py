import asyncio
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from clients.fake_server import FakeServer, Gate, serving
from yais.clients import AsyncClient, Client
from yais.clients.siege.transports import TransportName


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with serving() as servicer:
        yield servicer


@pytest.fixture
def gate(fake: FakeServer) -> Iterator[Gate]:
    """A closed gate in front of the fake server's answers."""
    gate = Gate()
    fake.answer = gate.pass_through
    yield gate
    gate.opened.set()


class Blocking:
    """An AsyncClient with the blocking client's interface, so that one test serves both."""

    def __init__(self, target: str) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(self._make(target))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *positional, **named: self._runner.run(getattr(self._client, name)(*positional, **named))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    @staticmethod
    async def _make(target: str) -> AsyncClient:
        return AsyncClient(target)


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, fake: FakeServer) -> Iterator[Client]:
    client = request.param(fake.target)
    yield client
    client.close()


@pytest.fixture
def run(fake: FakeServer) -> Callable[..., Any]:
    """Runs a command against the fake server, as in `run(main, "--count 3")`."""

    def invoke(command: Any, arguments: str = "") -> Any:
        return CliRunner().invoke(command, ["--host", "127.0.0.1", "--port", str(fake.port), *arguments.split()])

    return invoke


@pytest.fixture(params=get_args(TransportName))
def transport(request: pytest.FixtureRequest) -> TransportName:
    """What siege sends on."""
    name: TransportName = request.param
    return name

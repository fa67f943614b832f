import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import grpc
import pytest
from click.testing import CliRunner
from fake_server import FakeServer, Gate

from yais.clients import AsyncClient, Client
from yais.clients.siege.traffic.lines import TransportName
from yais.proto.grpc_service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    servicer = FakeServer()
    with ThreadPoolExecutor(max_workers=100) as threads:
        options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        server = grpc.server(threads, options=options)
        add_GRPCInferenceServiceServicer_to_server(servicer, server)
        # Not "localhost", of whose addresses gRPC binds as many as it can: another server may have the port on one.
        servicer.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield servicer
        server.stop(grace=None).wait()


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

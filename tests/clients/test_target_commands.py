"""The commands against several servers."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

from clients.fake_server import FakeServer, echo, serving
from yais.clients import async_cli, sync_cli
from yais.clients.reporters import document
from yais.clients.siege import cli as siege_cli
from yais.clients.siege.transports import TransportName
from yais.proto import grpc_service_pb2 as pb


@pytest.fixture
def fakes() -> Iterator[tuple[FakeServer, FakeServer]]:
    with serving() as first, serving() as second:
        yield first, second


@pytest.fixture
def target(fakes: tuple[FakeServer, FakeServer]) -> str:
    return "ipv4:" + ",".join(fake.target for fake in fakes)


def called(command: Any, target: str, arguments: str) -> Result:
    return CliRunner().invoke(command, ["--target", target, *arguments.split()])


@pytest.mark.parametrize("command", [sync_cli.main, async_cli.main], ids=["sync", "async"])
def test_the_clients_call_all_servers(command: Any, fakes: tuple[FakeServer, FakeServer], target: str) -> None:
    first, second = fakes
    both = [threading.Event(), threading.Event()]

    def answer(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        # The pace is slow until both have been called: gRPC calls whoever is connected, and that takes its time.
        for event, fake in zip(both, fakes, strict=True):
            if fake.requests:
                event.set()
        for event in both:
            event.wait(0.01)
        return echo(request, context)

    first.answer = second.answer = answer
    result = called(command, target, "--count 1000")
    assert result.exit_code == 0, result.output
    assert len(first.requests) + len(second.requests) == 1000
    assert first.requests
    assert second.requests


def test_siege_tells_how_many_requests_each_address_got(
    fakes: tuple[FakeServer, FakeServer], target: str, transport: TransportName, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    arguments = f"--rate 500 --count 41 --transport {transport} --max-lag 60000 --report {file}"
    result = called(siege_cli.main, target, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{target} identity: ")
    first, second = (fake.target for fake in fakes)
    assert re.search(rf"\n\nsent to each address\n  {first} +21\n  {second} +20\n", result.stdout)
    assert document.read(file).info.addresses == {first: 21, second: 20}
    assert [len(fake.requests) for fake in fakes] == [21, 20]


def test_of_one_address_siege_says_nothing(fakes: tuple[FakeServer, FakeServer]) -> None:
    result = called(siege_cli.main, fakes[0].target, "--rate 500 --count 20 --connections 2 --max-lag 60000")
    assert result.exit_code == 0, result.output
    assert "each address" not in result.stdout


@pytest.mark.parametrize(
    ("command", "arguments"), [(sync_cli.main, ""), (async_cli.main, ""), (siege_cli.main, "--rate 1")]
)
def test_a_name_that_nobody_knows_is_an_error_that_says_which(command: Any, arguments: str) -> None:
    result = called(command, "dns:///nobody.invalid:80", f"--count 1 --timeout 30 {arguments}")
    assert result.exit_code == 1
    assert "Error: dns:///nobody.invalid:80: UNAVAILABLE: " in result.stderr


def test_a_name_that_nobody_knows_is_an_error_without_metadata_too() -> None:
    result = called(siege_cli.main, "dns:///nobody.invalid:80", "--method /a.B/C --rate 1 --count 1")
    assert result.exit_code == 1
    assert "Error: dns:///nobody.invalid:80: the name cannot be resolved: " in result.stderr

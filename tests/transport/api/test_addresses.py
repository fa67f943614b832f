import asyncio
import socket
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc.aio
import pytest

from transport.api.differences import PORT_OF_ANOTHER
from transport.api.messages import note, notes, services
from transport.api.reading import read_all
from transport.api.serving import Bench

has_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")


class Peers:
    """A unary method that keeps who called it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def method(self, request: Any, context: Any) -> Any:
        self.seen.append(context.peer())
        return request


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A path that is short enough for a socket, whatever `tmp_path` is."""
    monkeypatch.chdir(tmp_path)
    return "server.sock"


@pytest.mark.both_loops
async def test_a_unix_socket(bench: Bench, socket_path: str) -> None:
    peers = Peers()
    served = await bench.serve(address=f"unix:{socket_path}", methods={"UnaryUnary": peers.method})
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    assert await read_all(served.stub.StreamStream(notes("a", "b"))) == notes("a", "b")
    assert peers.seen == ["unix:"]


async def test_a_unix_socket_has_port_1(bench: Bench, socket_path: str) -> None:
    server = bench.make_server()
    assert server.add_insecure_port(f"unix:{socket_path}") == 1
    await server.start()


async def test_an_absolute_unix_socket(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    if len(str(path)) > 100:
        pytest.skip("the path is too long for a socket")
    served = await bench.serve(address=f"unix:{path}")
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    other = services.ProbeStub(bench.connect(f"unix://{path}"))
    assert await other.UnaryUnary(note("b")) == note("b")


async def test_an_abstract_unix_socket(bench: Bench, tmp_path: Path) -> None:
    served = await bench.serve(address=f"unix-abstract:{tmp_path.name}-{id(bench)}")
    assert await served.stub.UnaryUnary(note("a")) == note("a")


async def test_a_socket_that_was_left_behind_is_no_hindrance(bench: Bench, socket_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(socket_path)
    served = await bench.serve(address=f"unix:{socket_path}")
    assert await served.stub.UnaryUnary(note("a")) == note("a")


@has_ipv6
@pytest.mark.both_loops
async def test_ipv6(bench: Bench) -> None:
    peers = Peers()
    served = await bench.serve(address="[::1]:0", methods={"UnaryUnary": peers.method})
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    assert peers.seen[0].startswith("ipv6:%5B::1%5D:")


@has_ipv6
async def test_every_interface_is_ipv4_and_ipv6(bench: Bench) -> None:
    _, target = await bench.start("[::]:0")
    port = target.rpartition(":")[2]
    for host in ("127.0.0.1", "[::1]", "localhost"):
        assert await services.ProbeStub(bench.connect(f"{host}:{port}")).UnaryUnary(note("a")) == note("a")


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "dns:localhost:{}", "ipv4:127.0.0.1:{}", "dns:///127.0.0.1:{}"])
async def test_all_forms_of_a_target(bench: Bench, form: str) -> None:
    _, target = await bench.start()
    channel = bench.connect(form.format(target.rpartition(":")[2]))
    assert await services.ProbeStub(channel).UnaryUnary(note("a")) == note("a")


async def test_a_target_may_have_an_address_that_nobody_serves(bench: Bench) -> None:
    _, target = await bench.start()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        channel = bench.connect(f"ipv4:127.0.0.1:{unused.getsockname()[1]},{target}")
        assert await services.ProbeStub(channel).UnaryUnary(note("a")) == note("a")


async def test_a_server_may_have_several_ports(bench: Bench, socket_path: str) -> None:
    server = bench.make_server()
    services.add_ProbeServicer_to_server(services.ProbeServicer(), server)
    targets = [f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}" for _ in range(2)]
    server.add_insecure_port(f"unix:{socket_path}")
    await server.start()
    for target in (*targets, f"unix:{socket_path}"):
        call = services.ProbeStub(bench.connect(target)).UnaryUnary(note())
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_address_that_cannot_be_bound_is_an_error(bench: Bench) -> None:
    server = bench.make_server(options=[("grpc.so_reuseport", 0)])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=address):
            server.add_insecure_port(address)
    with pytest.raises(RuntimeError, match="no-such-folder"):
        server.add_insecure_port("unix:/no-such-folder/socket")


async def test_a_port_that_another_server_has(bench: Bench) -> None:
    _, target = await bench.start()
    try:
        await bench.start(target)
        result = "is shared with it"
    except RuntimeError:
        result = "is an error"
    assert result == PORT_OF_ANOTHER.at(bench.ends.server)


@pytest.mark.both_loops
async def test_no_call_waits_for_a_delayed_acknowledgement(bench: Bench) -> None:
    """Which takes 40 ms at least, on every call whose answer is written in two parts."""
    served = await bench.serve()
    await served.channel.channel_ready()
    elapsed = []
    for _ in range(10):
        begun = perf_counter()
        await read_all(served.stub.UnaryStream(note("abc")))
        elapsed.append(perf_counter() - begun)
    assert min(elapsed) < 0.03


async def test_a_listener_goes_with_its_server(bench: Bench, socket_path: str) -> None:
    server, _ = await bench.start(f"unix:{socket_path}")
    await server.stop(None)
    with pytest.raises(OSError, match=r"refused|No such file"):
        await asyncio.open_unix_connection(socket_path)

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import repeat

import click
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from yais import transport as native
from yais.clients.channel import HostPort
from yais.clients.siege.balancer import Endpoint, Resolve, ResolveInterval, RoundRobinBalancer, connect
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Constant, Until
from yais.clients.siege.transports import TransportName, UnaryCall
from yais.clients.stats.outcomes import OK
from yais.clients.stats.recorder import Recorder
from yais.transport import ServerCall

METHOD = "/test.Counting/Call"
UNIMPLEMENTED = 12
REFUSAL = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", str(UNIMPLEMENTED))]
# Only losses have names resolved again, but at once.
AT_ONCE = ResolveInterval(minimum=0.01, maximum=3600)


class Counting:
    """A server that answers, unless it is told not to, and counts; it can be stopped and started again."""

    def __init__(self, host: str) -> None:
        self.calls = 0
        self.held: list[ServerCall] | None = None
        self.address = f"{host}:0"

    async def start(self) -> None:
        self._server = native.server()
        self._server.add_raw_method(METHOD, self._answer)
        port = self._server.add_insecure_port(self.address)
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    def _answer(self, call: ServerCall, message: memoryview) -> None:
        self.calls += 1
        if self.held is None:
            call.respond(b"")
        else:
            self.held.append(call)


@pytest.fixture
async def servers() -> AsyncIterator[list[Counting]]:
    servers = [Counting(f"127.0.0.{number}") for number in (1, 2, 3)]
    async with AsyncExitStack() as stack:
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        yield servers


@pytest.fixture
def endpoint(servers: list[Counting], transport: TransportName) -> Endpoint:
    """To the first two servers."""
    return Endpoint(transport, f"ipv4:{servers[0].address},{servers[1].address}", METHOD)


class Name:
    """A name whose addresses a test decides about."""

    def __init__(self, *servers: Counting) -> None:
        self.addresses: Sequence[str] = [server.address for server in servers]
        self.was_asked = asyncio.Event()

    async def resolve(self, name: HostPort) -> Sequence[str]:
        assert name == HostPort("models", 80)
        self.was_asked.set()
        return self.addresses


@asynccontextmanager
async def limited(
    endpoint: Endpoint, resolve: Resolve | None = None, interval: ResolveInterval = AT_ONCE
) -> AsyncIterator[RoundRobinBalancer]:
    async with asyncio.timeout(60), connect(endpoint, 30.0, resolve or Name().resolve, interval) as balancer:
        yield balancer


async def send(balancer: RoundRobinBalancer, requests: int) -> list[int]:
    """What becomes of so many requests, sent at once."""
    ended: asyncio.Queue[UnaryCall] = asyncio.Queue()
    for _ in range(requests):
        balancer.picker.pick()(b"", ended.put_nowait, 30.0)
    return [(await ended.get()).status for _ in range(requests)]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - of much of it nothing tells
        await asyncio.sleep(0.01)


async def test_requests_are_spread_evenly_over_a_list(endpoint: Endpoint, servers: list[Counting]) -> None:
    async with limited(endpoint) as balancer:
        assert await send(balancer, 40) == [OK] * 40
        assert balancer.counts() == {servers[0].address: 20, servers[1].address: 20}
    assert [server.calls for server in servers] == [20, 20, 0]


async def test_requests_are_spread_evenly_over_what_a_name_resolves_to(
    transport: TransportName, servers: list[Counting]
) -> None:
    async with limited(Endpoint(transport, "dns:///models:80", METHOD, 2), Name(*servers).resolve) as balancer:
        assert await send(balancer, 60) == [OK] * 60
    assert [server.calls for server in servers] == [20, 20, 20]


async def test_calls_name_the_server_as_the_target_does(transport: TransportName) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    authorities.append(dict(event.headers)[b":authority"])
                    connection.send_headers(event.stream_id, REFUSAL, end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        has_ended.set()

    authorities: list[bytes] = []
    name, has_ended = Name(), asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        name.addresses = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]
        async with limited(Endpoint(transport, "dns:///models:80", METHOD), name.resolve) as balancer:
            assert await send(balancer, 1) == [UNIMPLEMENTED]
        await asyncio.wait_for(has_ended.wait(), 30)
    assert authorities == [b"models:80"]


async def test_a_server_that_dies_is_left_out_and_called_again_when_it_is_back(
    endpoint: Endpoint, servers: list[Counting]
) -> None:
    lives, dies, _ = servers
    async with limited(endpoint) as balancer:
        assert await send(balancer, 20) == [OK] * 20
        await dies.stop()
        await until(lambda: balancer.unconnected == [dies.address])
        assert await send(balancer, 20) == [OK] * 20
        assert (lives.calls, dies.calls) == (30, 10)
        await dies.start()
        await until(lambda: not balancer.unconnected)
        assert await send(balancer, 20) == [OK] * 20
    assert (lives.calls, dies.calls) == (40, 20)


async def test_a_server_that_dies_under_load_costs_what_was_on_its_way_there(
    endpoint: Endpoint, servers: list[Counting]
) -> None:
    lives, dies, _ = servers
    recorder, pacer = Recorder(), Until(Constant(1000.0), count=2000)
    async with limited(endpoint) as balancer:
        sender = OpenLoop(
            balancer.picker, repeat((0, b"")).__next__, pacer, timeout=30, max_outstanding=950, recorder=recorder
        )
        sending = asyncio.create_task(sender.run())
        await until(lambda: dies.calls >= 100)
        await dies.stop()
        died_at = dies.calls
        await sending
        counts = balancer.counts()
    tally = recorder.tally.counts
    # Of what is caught up with at a time, 256, every other one goes there.
    assert 2000 - 256 <= tally.completed <= 2000
    assert tally.completed + tally.rejected + tally.cancelled == 2000
    assert dies.calls == died_at
    assert sum(counts.values()) >= 2000
    assert lives.calls == counts[lives.address]
    assert lives.calls >= 2000 - died_at - 256


async def test_a_name_that_has_more_addresses_after_a_loss_is_spread_over_them(
    transport: TransportName, servers: list[Counting]
) -> None:
    lives, dies, joins = servers
    name = Name(lives, dies)
    async with limited(Endpoint(transport, "dns:///models:80", METHOD), name.resolve) as balancer:
        name.addresses = [lives.address, joins.address]
        await dies.stop()
        await until(lambda: joins.address in balancer.counts() and not balancer.unconnected)
        assert await send(balancer, 20) == [OK] * 20
        assert balancer.counts() == {lives.address: 10, dies.address: 0, joins.address: 10}


async def test_what_is_on_its_way_to_an_address_that_vanishes_is_answered(
    transport: TransportName, servers: list[Counting]
) -> None:
    stays, vanishes, _ = servers
    vanishes.held = []
    name = Name(stays, vanishes)
    async with limited(
        Endpoint(transport, "dns:///models:80", METHOD), name.resolve, ResolveInterval(0.01, 0.02)
    ) as balancer:
        sending = asyncio.create_task(send(balancer, 8))
        await until(lambda: len(vanishes.held or ()) == 4)
        name.addresses = [stays.address]
        await until(lambda: balancer.picker.pick() is balancer.picker.pick())
        assert await send(balancer, 4) == [OK] * 4
        for call in vanishes.held:
            call.respond(b"")
        assert await sending == [OK] * 8
    assert (stays.calls, vanishes.calls) == (8, 4)


async def test_an_address_that_cannot_be_connected_is_warned_of(
    endpoint: Endpoint, servers: list[Counting], capsys: pytest.CaptureFixture[str]
) -> None:
    lives, dead, _ = servers
    await dead.stop()
    async with limited(endpoint) as balancer:
        assert await send(balancer, 4) == [OK] * 4
        assert balancer.counts() == {lives.address: 4, dead.address: 0}
    warning = f"warning: {dead.address}: no connection yet; calls go there as soon as there is one\n"
    assert capsys.readouterr().err == warning


async def test_an_address_that_says_nothing_is_not_waited_for_for_ever(
    transport: TransportName, servers: list[Counting], capsys: pytest.CaptureFixture[str]
) -> None:
    lives = servers[0]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with connect(Endpoint(transport, f"ipv4:{address},{lives.address}", METHOD), 1.0) as balancer:
            assert await send(balancer, 4) == [OK] * 4
            assert balancer.counts() == {address: 0, lives.address: 4}
    assert f"warning: {address}: no connection yet" in capsys.readouterr().err


async def test_where_nobody_can_be_connected_that_is_an_error(endpoint: Endpoint, servers: list[Counting]) -> None:
    for server in servers:
        await server.stop()
    with pytest.raises(click.ClickException) as raised:
        async with connect(endpoint, 0.3):
            pass
    assert raised.value.message == f"{endpoint.target}: no connection within 0.3 s"


async def test_nothing_is_left_behind(endpoint: Endpoint, servers: list[Counting]) -> None:
    before = asyncio.all_tasks()
    with suppress(ZeroDivisionError):
        async with limited(endpoint) as balancer:
            await send(balancer, 4)
            raise ZeroDivisionError
    assert asyncio.all_tasks() == before

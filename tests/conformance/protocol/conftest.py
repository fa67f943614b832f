import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from conformance.protocol.hostile import Hostile, hostile_server
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served, serve, servers
from yais import transport


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that servers and clients are meant to run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def close_servers() -> Iterator[None]:
    yield
    servers.close()


@pytest.fixture
def server() -> Iterator[Served]:
    """A server with default options, which must go on to serve others whatever a test does to it."""
    with serve() as served:
        yield served


@pytest.fixture
async def peer(server: Served) -> AsyncIterator[Peer]:
    """A client of that server, which has shaken hands."""
    async with connected(server.port) as peer:
        yield peer


@pytest.fixture
async def hostile(server: Served) -> AsyncIterator[Hostile]:
    """A server that a test speaks for; another channel of this process must go on to be served."""
    async with (
        hostile_server(("grpc.initial_reconnect_backoff_ms", 100)) as hostile,
        transport.insecure_channel(f"127.0.0.1:{server.port}") as bystander,
    ):
        echo = bystander.unary_unary("/test.Probe/Echo")
        assert await echo(b"before", timeout=5) == b"before"
        yield hostile
        assert await echo(b"after", timeout=5) == b"after"

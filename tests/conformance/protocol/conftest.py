import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from conformance.protocol.hostile import Hostile, hostile_server
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served
from yais import transport


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that servers and clients are meant to run on."""
    return {"uvloop": uvloop.new_event_loop}


class Host:
    """The server of this process of tests; a new one where the last has crashed."""

    def __init__(self) -> None:
        self.served: Served | None = None

    def get(self) -> Served:
        if self.served is None or self.served.process.poll() is not None:
            self.served = Served({})
        return self.served


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    if host.served is not None:
        assert host.served.stop() == 0


@pytest.fixture
def server(host: Host) -> Iterator[Served]:
    """A server with default options, which must go on to serve others whatever a test does to it."""
    served = host.get()
    served.check()
    yield served
    served.check()


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

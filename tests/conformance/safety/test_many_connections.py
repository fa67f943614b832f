"""Ten thousand connections, and thousands that come and go."""

import resource
import socket
import time
from collections.abc import Iterator

import pytest

from conformance.protocol.serving import until
from conformance.safety.blocking import Client
from conformance.safety.watch import EACH, MB, memory, watched

CONNECTIONS = 10_000
# What the two processes have open beside them.
SPARE = 500
CHURN = 2000


@pytest.fixture
def files() -> Iterator[None]:
    """As many as the process may have; the server's process takes as many by itself."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < CONNECTIONS + SPARE:
        pytest.skip(f"the hard limit of open files is {before[1]}; {CONNECTIONS + SPARE} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("files")
async def test_ten_thousand_connections_are_served() -> None:
    async with watched(CONNECTIONS * EACH) as server:
        before = server.state()
        clients = [Client(server.port) for _ in range(CONNECTIONS)]
        for client in clients[::10]:
            client.ask()
        assert server.state()["connections"] == before["connections"] + CONNECTIONS
        for client in clients[::10]:
            client.ask()
        for client in clients:
            client.close()
        await until(lambda: server.state() == before)


async def test_connections_that_come_and_go_leave_nothing_behind() -> None:
    async with watched() as server:
        before = server.state()
        await churn(server.port, CHURN // 10)
        size = memory(server.process.pid, "VmRSS")
        await churn(server.port, CHURN)
        await until(lambda: server.state() == before)
        assert memory(server.process.pid, "VmRSS") - size < 2 * MB


async def churn(port: int, count: int) -> None:
    """Some say nothing, some are served, some have a call under way; some go well and some do not."""
    for index in range(count):
        client = Client(port)
        if index % 3:
            client.ask()
        if index % 3 == 2:
            client.begin()
        if index % 2:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
        client.close()


async def test_connections_that_are_made_faster_than_they_are_taken_wait_their_turn() -> None:
    """More than the backlog, without a word; all of them are answered in the end."""
    async with watched(2000 * EACH) as server:
        sockets = []
        for _ in range(2000):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", server.port))
            sockets.append(sock)
        end = time.monotonic() + 5
        for sock in sockets[::100]:
            sock.settimeout(max(0.1, end - time.monotonic()))
            assert sock.recv(9)
        for sock in sockets:
            sock.close()

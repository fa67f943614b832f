import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from conformance.interop.cases import check_status, check_zeros, empty_unary, output_request, stub
from conformance.interop.certificates import channel_credentials
from conformance.interop.implementations import IMPLEMENTATIONS
from conformance.interop.messages import services
from conformance.interop.server import bind
from conformance.interop.servicer import InteropServicer
from conformance.interop.tap import Tap

LIMIT_S = 5
GRACE_S = 0.1
# More than fits into any buffer on the way.
ENDLESS = 100 * [1_000_000]
PAIRS = [(client, server) for client in IMPLEMENTATIONS for server in IMPLEMENTATIONS]

each_pair = pytest.mark.parametrize(
    ("client", "server"), PAIRS, ids=[f"{client}->{server}" for client, server in PAIRS]
)
each_way = pytest.mark.parametrize("way", ["plain", "tls"])


@asynccontextmanager
async def connected(
    client: str, server: str, way: str, folder: Path, certificates: Path
) -> AsyncIterator[tuple[grpc.aio.Server, grpc.aio.Channel]]:
    """A server of this process, and a channel to it on which a call has succeeded."""
    serving, calling = IMPLEMENTATIONS[server](), IMPLEMENTATIONS[client]()
    running = serving.server()
    address = bind(running, serving, f"unix:{folder}/server.sock", certificates)[way]
    services.add_TestServiceServicer_to_server(InteropServicer(Tap(address)), running)
    await running.start()
    credentials = channel_credentials(calling, certificates, mutual=False)
    tls = way == "tls"
    channel = calling.secure_channel(address, credentials) if tls else calling.insecure_channel(address)
    async with asyncio.timeout(4 * LIMIT_S), channel:
        await empty_unary(channel)
        yield running, channel
    await running.stop(None)


async def read_one(channel: grpc.aio.Channel) -> Any:
    """A call of which its caller has read one message, and reads no more."""
    call = stub(channel).StreamingOutputCall(output_request(0, *ENDLESS))
    check_zeros(await call.read(), ENDLESS[0])
    return call


async def read_rest(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


@each_way
@each_pair
async def test_a_server_stops_although_a_client_is_connected(
    client: str, server: str, way: str, tmp_path: Path, certificates: Path
) -> None:
    async with connected(client, server, way, tmp_path, certificates) as (running, _), asyncio.timeout(LIMIT_S):
        await running.stop(GRACE_S)


@each_way
@each_pair
async def test_a_server_stops_although_a_client_no_longer_reads(
    client: str, server: str, way: str, tmp_path: Path, certificates: Path
) -> None:
    async with connected(client, server, way, tmp_path, certificates) as (running, channel):
        call = await read_one(channel)
        async with asyncio.timeout(LIMIT_S):
            await running.stop(GRACE_S)
        assert call.cancel() or call.done()


@each_way
@each_pair
async def test_a_channel_closes_although_a_server_is_still_sending(
    client: str, server: str, way: str, tmp_path: Path, certificates: Path
) -> None:
    async with connected(client, server, way, tmp_path, certificates) as (_, channel):
        call = await read_one(channel)
        async with asyncio.timeout(LIMIT_S):
            await channel.close()
        assert await call.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("client", IMPLEMENTATIONS)
async def test_a_status_counts_that_comes_in_the_middle_of_a_message(
    client: str, tmp_path: Path, certificates: Path
) -> None:
    # So ends what grpcio's server cuts short.
    async with connected(client, "grpcio", "plain", tmp_path, certificates) as (running, channel):
        call = await read_one(channel)
        await running.stop(GRACE_S)
        await check_status(read_rest(call), grpc.StatusCode.UNAVAILABLE)

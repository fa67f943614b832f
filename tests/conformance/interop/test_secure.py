import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

from conformance.interop.cases import CASES, check_status, stub
from conformance.interop.certificates import channel_credentials
from conformance.interop.implementations import IMPLEMENTATIONS, Implementation
from conformance.interop.messages import messages

LIMIT_S = 10
PAIRS = [(client, server) for client in IMPLEMENTATIONS for server in IMPLEMENTATIONS]
WAYS = ("unix", "tls", "mutual")
MATRIX = [
    pytest.param(client, server, way, case, id=f"{client}->{server} {way} {case}")
    for client, server in PAIRS
    for way in WAYS
    for case in ("empty_unary", "large_unary", "ping_pong")
]

Addresses = Callable[[str], dict[str, str]]
each_pair = pytest.mark.parametrize(
    ("client", "server"), PAIRS, ids=[f"{client}->{server}" for client, server in PAIRS]
)


def connect(made: Implementation, way: str, target: str, certificates: Path) -> grpc.aio.Channel:
    if way == "unix":
        return made.insecure_channel(target)
    return made.secure_channel(target, channel_credentials(made, certificates, mutual=way == "mutual"))


async def check_refused(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(LIMIT_S), channel:
        await check_status(stub(channel).EmptyCall(messages.Empty()), grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize(("client", "server", "way", "case"), MATRIX)
async def test_interop(client: str, server: str, way: str, case: str, addresses: Addresses, certificates: Path) -> None:
    made = IMPLEMENTATIONS[client]()
    async with asyncio.timeout(LIMIT_S), connect(made, way, addresses(server)[way], certificates) as channel:
        await CASES[case](channel)


@each_pair
async def test_a_client_without_a_certificate_is_refused_where_one_is_wanted(
    client: str, server: str, addresses: Addresses, certificates: Path
) -> None:
    made = IMPLEMENTATIONS[client]()
    await check_refused(connect(made, "tls", addresses(server)["mutual"], certificates))


@each_pair
async def test_a_client_calls_no_server_whose_authority_it_does_not_know(
    client: str, server: str, addresses: Addresses
) -> None:
    made = IMPLEMENTATIONS[client]()
    stranger = made.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
    await check_refused(made.secure_channel(addresses(server)["tls"], stranger))


@each_pair
async def test_a_client_without_tls_is_refused_where_tls_is_spoken(
    client: str, server: str, addresses: Addresses
) -> None:
    await check_refused(IMPLEMENTATIONS[client]().insecure_channel(addresses(server)["tls"]))

import asyncio
from collections.abc import Callable

import pytest

from conformance.interop.cases import CASES
from conformance.interop.compressed_cases import COMPRESSED_CASES
from conformance.interop.implementations import IMPLEMENTATIONS
from conformance.interop.processes import run_cpp_client
from conformance.interop.tap import Tap

LIMIT_S = 10
# The last four show that the suite holds where no end is ours.
PAIRS = (
    ("native", "native"),
    ("native", "grpcio"),
    ("native", "cpp"),
    ("grpcio", "native"),
    ("cpp", "native"),
    ("grpcio", "grpcio"),
    ("grpcio", "cpp"),
    ("cpp", "grpcio"),
    ("cpp", "cpp"),
)
MATRIX = [
    pytest.param(client, server, case, id=f"{client}->{server} {case}")
    for client, server in PAIRS
    for case in (*CASES, *COMPRESSED_CASES)
]


async def run_python_client(client: str, case: str, target: str) -> None:
    implementation = IMPLEMENTATIONS[client]()
    if case in CASES:
        async with implementation.insecure_channel(target) as channel:
            await CASES[case](channel)
    else:
        async with Tap(target) as tap, implementation.insecure_channel(tap.address) as channel:
            await COMPRESSED_CASES[case](channel, tap)


@pytest.mark.parametrize(("client", "server", "case"), MATRIX)
async def test_interop(client: str, server: str, case: str, addresses: Callable[[str], dict[str, str]]) -> None:
    target = addresses(server)["plain" if case in CASES else "tapped"]
    async with asyncio.timeout(LIMIT_S):
        if client == "cpp":
            await run_cpp_client(case, target)
        else:
            await run_python_client(client, case, target)

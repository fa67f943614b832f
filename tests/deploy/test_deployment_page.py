import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import kubernetes_validate
import pytest
import yaml
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from yais.server.grpc.health import HealthService


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/deployment.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def server_called(name: str) -> AsyncIterator[tuple[int, HealthService]]:
    """A server that answers every call of `/test/WhoAreYou` with its name; yields its port and its health."""

    async def answer(request: bytes, context: object) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    who_are_you: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_registered_method_handlers("test", {"WhoAreYou": who_are_you})
    health = HealthService([])
    add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port, health
    finally:
        health.stop()
        await server.stop(None)


def test_manifests_on_the_page_are_valid(page: str) -> None:
    documents = [document for block in blocks(page, "yaml") for document in yaml.safe_load_all(block)]
    manifests = [document for document in documents if "apiVersion" in document]
    assert [manifest["kind"] for manifest in manifests] == ["PersistentVolumeClaim", "Pod"]
    for manifest in manifests:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_claim_on_the_page_is_the_one_that_the_deployment_mounts(page: str, pod: dict[str, Any]) -> None:
    claim = next(document for block in blocks(page, "yaml") for document in yaml.safe_load_all(block))
    assert claim["metadata"]["name"] == pod["volumes"][0]["persistentVolumeClaim"]["claimName"]


def test_timeline_on_the_page_is_that_of_the_manifests(
    page: str, pod: dict[str, Any], container: dict[str, Any], flags: dict[str, str]
) -> None:
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    rows = [int(second) for second in re.findall(r"^\| (?:up to )?(\d+) \|", page, flags=re.MULTILINE)]
    assert rows == [0, pause, pause + int(flags["drain-timeout"]), pod["terminationGracePeriodSeconds"]]


async def test_service_config_on_the_page_spreads_requests_and_leaves_a_draining_server(page: str) -> None:
    (config,) = blocks(page, "json")
    async with server_called("a") as (port, _), server_called("b") as (draining_port, health), asyncio.timeout(30):
        target = f"ipv4:127.0.0.1:{port},127.0.0.1:{draining_port}"
        async with grpc.aio.insecure_channel(target, [("grpc.service_config", config)]) as channel:
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test/WhoAreYou")
            while {await ask(b"", wait_for_ready=True) for _ in range(2)} != {b"a", b"b"}:
                pass
            health.drain()
            while {await ask(b"") for _ in range(20)} != {b"a"}:
                pass

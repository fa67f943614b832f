import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from server.fake_context import Aborted, FakeCall
from yais.server.grpc.health import HealthService

UNKNOWN, SERVING, NOT_SERVING = (
    HealthCheckResponse.SERVICE_UNKNOWN,
    HealthCheckResponse.SERVING,
    HealthCheckResponse.NOT_SERVING,
)
NAMES = ["", "ready", "inference.GRPCInferenceService", "flowers"]


@pytest.fixture
def service() -> HealthService:
    return HealthService(["flowers"])


async def check(service: HealthService, name: str) -> int:
    response = await service.Check(HealthCheckRequest(service=name), FakeCall())  # type: ignore[arg-type]
    return response.status


def watch(service: HealthService, name: str) -> AsyncIterator[HealthCheckResponse]:
    return service.Watch(HealthCheckRequest(service=name), FakeCall())  # type: ignore[arg-type]


async def rest(watcher: AsyncIterator[HealthCheckResponse]) -> list[int]:
    async with asyncio.timeout(30):
        return [response.status async for response in watcher]


async def following(watcher: AsyncIterator[HealthCheckResponse]) -> int:
    async with asyncio.timeout(30):
        return (await anext(watcher)).status


async def one_turn(task: "asyncio.Task[Any]") -> None:
    """Lets `task` run until it waits for something."""
    await asyncio.sleep(0)
    assert not task.done()


@pytest.mark.parametrize("name", NAMES)
async def test_what_is_served_is_serving_until_the_drain(service: HealthService, name: str) -> None:
    assert await check(service, name) == SERVING
    service.drain()
    assert await check(service, name) == NOT_SERVING


@pytest.mark.parametrize("is_draining", [False, True])
@pytest.mark.parametrize("name", ["Flowers", "flowers ", "grpc.health.v1.Health", "x"])
async def test_checking_an_unknown_name_is_not_found(service: HealthService, name: str, is_draining: bool) -> None:
    if is_draining:
        service.drain()
    with pytest.raises(Aborted) as caught:
        await check(service, name)
    assert caught.value.status == grpc.StatusCode.NOT_FOUND
    assert caught.value.text == f"unknown service '{name}'"


@pytest.mark.parametrize("name", NAMES)
async def test_a_watcher_hears_at_once_and_at_each_change(service: HealthService, name: str) -> None:
    watcher = watch(service, name)
    assert await following(watcher) == SERVING
    waiting = asyncio.create_task(following(watcher))
    await one_turn(waiting)
    service.drain()
    assert await waiting == NOT_SERVING


async def test_watching_an_unknown_name_stays_on_the_line(service: HealthService) -> None:
    watcher = watch(service, "x")
    assert await following(watcher) == UNKNOWN
    waiting = asyncio.create_task(rest(watcher))
    await one_turn(waiting)
    service.drain()
    await one_turn(waiting)
    service.stop()
    assert await waiting == []


async def test_a_watcher_who_comes_during_the_drain_hears_of_it(service: HealthService) -> None:
    service.drain()
    assert await following(watch(service, "")) == NOT_SERVING


async def test_a_change_that_comes_while_a_watcher_reads_is_not_missed(service: HealthService) -> None:
    watcher = watch(service, "")
    assert await following(watcher) == SERVING
    service.drain()
    assert await following(watcher) == NOT_SERVING


async def test_a_watcher_hears_nothing_twice(service: HealthService) -> None:
    watcher = watch(service, "")
    assert await following(watcher) == SERVING
    service.drain()
    service.drain()
    assert await following(watcher) == NOT_SERVING
    waiting = asyncio.create_task(rest(watcher))
    await one_turn(waiting)
    service.drain()
    await one_turn(waiting)
    service.stop()
    assert await waiting == []


async def test_stopping_ends_every_watch(service: HealthService) -> None:
    watchers = [asyncio.create_task(rest(watch(service, name))) for name in ("", "flowers", "x")]
    for task in watchers:
        await one_turn(task)
    service.drain()
    await asyncio.sleep(0)
    service.stop()
    assert await asyncio.gather(*watchers) == [[SERVING, NOT_SERVING], [SERVING, NOT_SERVING], [UNKNOWN]]


async def test_a_watcher_hears_of_the_drain_although_the_stop_comes_right_behind_it(service: HealthService) -> None:
    """An idle server has nothing to wait for between the two."""
    waiting = asyncio.create_task(rest(watch(service, "")))
    await one_turn(waiting)
    service.drain()
    service.stop()
    assert await waiting == [SERVING, NOT_SERVING]


async def test_a_watcher_who_never_reads_holds_nobody_up(service: HealthService) -> None:
    stalled, reading = watch(service, ""), watch(service, "")
    assert await following(stalled) == await following(reading) == SERVING
    service.drain()
    assert await following(reading) == NOT_SERVING
    service.stop()
    assert await rest(reading) == []


async def test_a_watcher_who_leaves_leaves_nothing_behind(service: HealthService) -> None:
    waiting = asyncio.create_task(rest(watch(service, "")))
    await one_turn(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    service.drain()
    service.stop()
    assert await check(service, "") == NOT_SERVING

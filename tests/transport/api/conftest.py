import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import uvloop

from transport.api.serving import Bench
from transport.api.transports import PAIRS, Ends

HERE = Path(__file__).parent
LIMIT_S = 10.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_loops: runs on asyncio's event loop as well as on uvloop's")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("both_loops"):
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A call that never ends is to fail its test soon, and to show where it waits."""
    for item in items:
        if isinstance(item, pytest.Function) and HERE in item.path.parents and iscoroutinefunction(item.obj):
            item.obj = limited(item.obj)


def limited(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def run(**arguments: Any) -> None:
        async with asyncio.timeout(LIMIT_S):
            await test(**arguments)

    return run


@pytest.fixture(params=PAIRS, ids=str)
def ends(request: pytest.FixtureRequest) -> Ends:
    return request.param


@pytest.fixture
async def bench(ends: Ends) -> AsyncIterator[Bench]:
    stack = AsyncExitStack()
    yield Bench(ends, stack)
    async with asyncio.timeout(LIMIT_S):
        await stack.aclose()

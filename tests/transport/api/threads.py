"""Event loops that run in threads of their own, where a test has coroutines run."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from transport.api.serving import Bench
from transport.api.transports import ONLY_NATIVE

LIMIT_S = 60.0

MakeLoop = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True, slots=True)
class Worker:
    """A loop in a thread; what `bench` makes has to be made there."""

    loop: asyncio.AbstractEventLoop
    bench: Bench

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.begin(work).result(LIMIT_S)


@contextmanager
def turning(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The loop runs in a thread meanwhile."""
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextmanager
def working(make_loop: MakeLoop) -> Iterator[Worker]:
    """A worker, which ends with all that was made there."""
    loop, stack = make_loop(), AsyncExitStack()
    worker = Worker(loop, Bench(ONLY_NATIVE[0], stack))
    try:
        with turning(loop):
            try:
                yield worker
            finally:
                worker.run(stack.aclose())
    finally:
        loop.close()

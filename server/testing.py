"""Server in a thread of its own, for tests and other programs without asyncio.

As a fixture of pytest:

    @pytest.fixture(scope="session")
    def server():
        with run_in_thread(Config(engines=["model.onnx"], host="127.0.0.1", port=0, metrics=0)) as server:
            yield server

    def test_it_answers(server):
        with Client(f"127.0.0.1:{server.port}") as client:
            ...
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

from yais.server.config import Config
from yais.server.server import Server

__all__ = ["run_in_thread"]


@contextmanager
def run_in_thread(config: Config) -> Iterator[Server]:
    """Serves until the block ends, and drains then; of the server, `port`, `metrics_port` and `models` can be read.

    Ports of 0, which the system chooses, let several servers and test processes run side by side. Raises `EngineError`
    or `StartError` when the server cannot start.
    """
    server = Server(config)
    started: Future[Callable[[], Any]] = Future()
    thread = Thread(target=asyncio.run, args=(_serve(server, started),), name="yais-server")
    thread.start()
    try:
        leave = started.result()
        try:
            yield server
        finally:
            leave()
    finally:
        thread.join()


async def _serve(server: Server, started: "Future[Callable[[], Any]]") -> None:
    """Gives `started` what ends this when it is called in another thread, or the error of the start."""
    loop, leaving = asyncio.get_running_loop(), asyncio.Event()
    try:
        await server.start()
    except Exception as error:
        started.set_exception(error)
        return
    started.set_result(partial(loop.call_soon_threadsafe, leaving.set))
    await leaving.wait()
    await server.stop()

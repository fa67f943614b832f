"""Serving until a signal comes: a server as the whole of its process, as the command runs it."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable

import uvloop

from yais.server.config import Config
from yais.server.exit_codes import ExitCode, exit_process
from yais.server.grpc.server import TransportName, drop_log_of_leaving_callers
from yais.server.server import Server

logger = logging.getLogger("yais.server")

# New objects that have not been freed again, before the collector looks for cycles among them.
_COLLECT_AT = 20_000


def serve(config: Config, on_started: Callable[[Server], None] = lambda server: None) -> ExitCode:
    """Serves until SIGTERM or SIGINT, and drains, as `inference-grpc` does; returns what that exits with.

        sys.exit(yais.server.serve(Config(engines=["model.onnx"])))

    It is for the main thread of a process that does nothing else: it takes over the signals, the second of which exits
    at once, and sets up memory and garbage collection for the whole process. Logging is left as it is. `on_started` is
    called once all is served. Where a run of an engine hangs in the end, it exits instead of returning. Raises
    `EngineError` or `StartError` when the server cannot start.
    """
    process = ServerProcess(Server(config))
    code = uvloop.run(process.serve(on_started))
    if process.server.is_hanging:
        exit_process(code, is_hanging=True)
    return code


class ServerProcess:
    """Serves in the main thread's loop until a signal comes, or a GPU or a worker is lost."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.is_signalled = False
        self._ending = asyncio.Event()

    async def serve(self, on_started: Callable[[Server], None]) -> ExitCode:
        """Raises `EngineError` or `StartError` when the server cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            await self.server.start()
            # Workers do so for themselves.
            if self.server.config.workers == 1:
                tune_process(self.server.config.transport)
            on_started(self.server)
            losing = asyncio.create_task(self._end_when_lost())
            await self._ending.wait()
            losing.cancel()
            return await self.server.stop()
        finally:
            self.server.kill()

    async def _end_when_lost(self) -> None:
        await self.server.wait_lost()
        self._ending.set()

    def _on_signal(self, number: signal.Signals) -> None:
        if self.is_signalled:
            logger.warning("%s again: exiting at once, %s", number.name, self.server.unfinished)
            self.server.kill()
            # As a shell reports a process that a signal has ended. sys.exit would wait for threads that run engines.
            os._exit(128 + number)
        self.is_signalled = True
        self._ending.set()


def tune_process(transport: TransportName) -> None:
    """Sets up memory, garbage collection and grpcio's log for a process that serves from now on, and nothing else."""
    if transport == "native":
        from yais.transport import keep_freed

        keep_freed()
    else:
        drop_log_of_leaving_callers()
    # What is loaded by now stays; no collection needs to go through it while requests wait. Nor does what requests make
    # need one, as it does not refer to itself; with many of them at once, collections were for nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AT)

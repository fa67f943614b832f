"""What the processes of a server have in common, be it one or a supervisor with its workers: log, loop and end."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import uvloop

logger = logging.getLogger("yais.server")

T = TypeVar("T")


class ExitCode(IntEnum):
    """What a process exits with; click adds 2 for settings that cannot be, and a second signal 128 + its number."""

    DRAINED = 0
    UNANSWERED = 1
    FAILED_START = 3
    LOST_WORKER = 4
    LOST_DEVICE = 5


def log_to_stderr(level: str | int, process: str = "") -> None:
    """`process` stands before the names of loggers, where several processes write to one log."""
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s {process}%(name)s: %(message)s")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def leave(code: int, is_hanging: bool) -> NoReturn:
    """Exits; a run of an engine that `is_hanging` has a thread that would not survive the interpreter's end."""
    if is_hanging:
        logger.warning("A run still goes on for nobody; leaving it behind")
        logging.shutdown()
        os._exit(code)
    sys.exit(code)

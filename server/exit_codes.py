"""Exit codes of the server's processes, and the exit itself."""

import logging
import os
import sys
from enum import IntEnum
from typing import NoReturn

logger = logging.getLogger("yais.server")


class ExitCode(IntEnum):
    """What a process exits with; click adds 2 for invalid settings, and a second signal 128 + its number."""

    DRAINED = 0
    UNANSWERED = 1
    FAILED_START = 3
    LOST_WORKER = 4
    LOST_DEVICE = 5


def exit_process(code: int, is_hanging: bool) -> NoReturn:
    """Exits; a run of an engine that `is_hanging` has a thread that would not survive the interpreter's end."""
    if is_hanging:
        logger.warning("An engine run is still in progress; exiting without waiting for it")
        logging.shutdown()
        os._exit(code)
    sys.exit(code)

"""Ends of processes that are not a test's own children."""

import time
from collections.abc import Sequence

import psutil


def is_running(process: psutil.Process) -> bool:
    """False of a zombie as well: where process 1 of a container reaps nothing, an orphan stays one."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_ends(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Waits until none of `processes` runs."""
    deadline = time.monotonic() + seconds
    while running := [process for process in processes if is_running(process)]:
        assert time.monotonic() < deadline, f"still running after {seconds} s: {running}"
        time.sleep(0.01)

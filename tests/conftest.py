"""Hooks and fixtures of all tests."""

import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of what is tested.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def pytest_collection_finish() -> None:
    """Some tests collect garbage, which is not to go through thousands of tests each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """Ends the run: xdist would start the crashed file again in a new worker, or wait for ever."""
    sched.config.hook.pytest_runtest_logreport(report=report)
    pytest.exit(f"a worker crashed while running {crashitem}", returncode=pytest.ExitCode.TESTS_FAILED)


@pytest.fixture(scope="session", autouse=True)
def default_sigint() -> Iterator[None]:
    """SIGINT's default handler, for this process and its children: a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

from collections.abc import Iterator

import pytest

from conformance.safety.watch import pool


@pytest.fixture(scope="session", autouse=True)
def servers() -> Iterator[None]:
    """Those that several tests attack."""
    yield
    pool.close()

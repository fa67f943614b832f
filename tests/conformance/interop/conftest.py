from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from conformance.interop.certificates import write_certificates
from conformance.interop.processes import run_server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interop")
    write_certificates(folder)
    return folder


@pytest.fixture(scope="session")
def addresses(certificates: Path) -> Iterator[Callable[[str], dict[str, str]]]:
    """Gives the addresses of an implementation's server, which is started when they are first asked for."""
    with ExitStack() as servers:
        yield cache(lambda implementation: servers.enter_context(run_server(implementation, certificates)))

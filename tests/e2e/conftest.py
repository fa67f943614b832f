import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.models import save
from e2e.peers import TRITON_PYTHON, require
from e2e.serving import Serving, environment, run_server
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

# Before any test loads ONNX Runtime itself.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

BUILT = ("mlp", "identity")
SMALL = (*BUILT, "numbers", "strings", "two", "mixed", "picky", "slow")


class Engines:
    """The engines that tests serve, each made when first asked for and kept for the whole run in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Other workers may want it at the same time, so it is made under a lock."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _build(name, self.folder) if name in BUILT else save(name, self.folder)

    def flags(self, *names: str) -> list[str]:
        return [word for name in names for word in ("--engine", str(self.path(name)))]


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """Shared by xdist's workers, whose own folders lie side by side."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "engines"
    folder.mkdir(exist_ok=True)
    return Engines(folder)


@pytest.fixture(scope="module")
def server(engines: Engines) -> Iterator[Serving]:
    """One with default settings and all small models, for tests that leave it as it is."""
    with run_server(*engines.flags(*SMALL)) as serving:
        yield serving


@pytest.fixture
def stub(server: Serving) -> Iterator[GRPCInferenceServiceStub]:
    with server.stub() as stub:
        yield stub


@pytest.fixture(scope="session")
def triton_python() -> Path:
    """The Python of the environment that has the unmodified tritonclient."""
    return require(TRITON_PYTHON)


def _build(name: str, folder: Path) -> Path:
    path = folder / f"{name}.onnx"
    if not path.exists():
        command: list[str | Path] = [Path(sys.executable).with_name("engine-build"), name, "-o", path]
        subprocess.run(command, check=True, capture_output=True, env=environment())
    return path

from pathlib import Path
from typing import Any

import pytest
import yaml

from yais.server.cli import main

ROOT = Path(__file__).parents[2]
Manifest = dict[str, Any]


def manifest(name: str) -> Manifest:
    loaded: Manifest = yaml.safe_load((ROOT / "deploy/k8s" / name).read_text())
    return loaded


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def deployment() -> Manifest:
    return manifest("deployment.yaml")


@pytest.fixture
def service() -> Manifest:
    return manifest("service.yaml")


@pytest.fixture
def budget() -> Manifest:
    return manifest("poddisruptionbudget.yaml")


@pytest.fixture
def monitor() -> Manifest:
    return manifest("servicemonitor.yaml")


@pytest.fixture
def pod(deployment: Manifest) -> Manifest:
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Manifest) -> Manifest:
    (server,) = pod["containers"]
    return dict(server)


@pytest.fixture
def flags(container: Manifest) -> dict[str, str]:
    """The server's arguments in the Deployment, by name; each is written `--name=value`."""
    return dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])


@pytest.fixture(scope="session")
def server_defaults() -> dict[str, object]:
    """What each flag of the server is when it is not given."""
    return {name.removeprefix("--"): flag.default for flag in main.params for name in flag.opts}

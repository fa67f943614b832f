import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci/apt-install"
LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"


def tool(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of tools where no package is installed, and time passes at once."""
    tool(tmp_path, "dpkg-query", "exit 1")
    tool(tmp_path, "sleep", ":")
    tool(tmp_path, "sudo", 'exec "$@"')
    return tmp_path


def install(machine: Path, *packages: str) -> subprocess.CompletedProcess[str]:
    path = f"{machine}:{os.environ['PATH']}"
    return subprocess.run([SCRIPT, *packages], env={**os.environ, "PATH": path}, capture_output=True, text=True)


def calls(machine: Path) -> list[str]:
    return (machine / "calls").read_text().splitlines()


def test_what_is_missing_is_installed(machine: Path) -> None:
    tool(machine, "apt-get", f'echo "$*" >> {machine}/calls')
    assert install(machine, "gcc", "g++").returncode == 0
    update, installation = calls(machine)
    assert update.endswith("update")
    assert installation.endswith("install -y --no-install-recommends gcc g++")


def test_nothing_is_done_where_all_is_installed(machine: Path) -> None:
    tool(machine, "dpkg-query", "echo 'ii '")
    tool(machine, "apt-get", "exit 1")
    assert install(machine, "gcc").returncode == 0


def test_the_lock_of_another_apt_is_waited_for(machine: Path) -> None:
    tool(
        machine,
        "apt-get",
        f'echo "$*" >> {machine}/calls; [ $(wc -l < {machine}/calls) -gt 3 ] || {{ echo "{LOCKED}"; exit 100; }}',
    )
    ended = install(machine, "gcc")
    assert (ended.returncode, len(calls(machine))) == (0, 5)
    assert ended.stdout.count("waiting for another apt-get to end") == 1


def test_a_failure_is_told(machine: Path) -> None:
    tool(machine, "apt-get", 'echo "E: no network"; exit 100')
    ended = install(machine, "gcc")
    assert ended.returncode != 0
    assert "E: no network" in ended.stderr

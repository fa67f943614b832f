"""A run of which a worker crashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FINE = "import pytest\n@pytest.mark.parametrize('number', range(20))\ndef test_fine(number): pass\n"
CRASHES = {
    "segmentation fault": "import ctypes\ndef test_crash(): ctypes.string_at(0)\n",
    "exit": "import os\ndef test_crash(): os._exit(0)\n",
}


def run_tests(folder: Path, **files: str) -> "subprocess.CompletedProcess[str]":
    """A run of the tests in `files` by this project's settings and hooks, on two workers."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    command = ["-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "conftest", "-p", "no:cacheprovider", "-n", "2"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *command, folder],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT / "tests")},
    )


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_a_crash_fails_the_run_and_names_the_test(tmp_path: Path, crash: str) -> None:
    ended = run_tests(tmp_path, fine=FINE, crashing=FINE + crash + FINE, other=FINE)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert "crashed while running 'test_crashing.py::test_crash'" in ended.stdout
    assert "Exit: a worker crashed while running test_crashing.py::test_crash" in ended.stdout


def test_without_a_crash_it_passes(tmp_path: Path) -> None:
    ended = run_tests(tmp_path, fine=FINE, other=FINE)
    assert ended.returncode == pytest.ExitCode.OK, ended.stdout

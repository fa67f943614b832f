import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from yais import commands

ROOT = Path(__file__).parents[2]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

# What all of them import. It takes its time.
SLOW = "import time; print('importing', flush=True); time.sleep(60)"
DISPOSITION = "import signal; print(signal.getsignal(signal.SIGINT).name); raise SystemExit"


def command(entry_point: str, folder: Path, click: str, *shell: str) -> list[Any]:
    """What a console script runs, with `click` as that module."""
    (folder / "click.py").write_text(click)
    module, function = entry_point.split(":")
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from {module} import {function}; {function}()"
    return [*shell, sys.executable, "-c", code]


@pytest.mark.parametrize("entry_point", SCRIPTS.values(), ids=SCRIPTS)
def test_ctrl_c_during_the_imports_ends_it_without_a_word(entry_point: str, tmp_path: Path) -> None:
    begun = command(entry_point, tmp_path, SLOW)
    with subprocess.Popen(begun, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (-signal.SIGINT, "")


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As where nohup, or a shell without job control, has started it in the background."""
    ignoring = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    begun = command(SCRIPTS["siege"], tmp_path, DISPOSITION, *ignoring)
    assert subprocess.run(begun, capture_output=True, text=True, check=True).stdout == "SIG_IGN\n"


def test_after_the_imports_ctrl_c_is_an_exception_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("yais.clients.sync_cli.main", lambda: seen.append(signal.getsignal(signal.SIGINT)))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        commands.client_sync()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.default_int_handler]

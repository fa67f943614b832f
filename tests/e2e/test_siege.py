import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest

from e2e.conftest import Engines
from e2e.serving import Serving, environment, eventually, run_server
from yais.clients.siege.traffic.lines import TransportName

SIEGE = Path(sys.executable).with_name("siege")
RATE = 100
# Of the lines that siege writes once a second, and of its report.
SECOND = re.compile(r"answered ([\d,]+\.\d)/s .* failed ([\d,]+)  held back ([\d,]+)")
COUNTS = re.compile(r"sent (\d+) = completed (\d+) (.*)")


class Siege:
    """The command in a process of its own."""

    def __init__(self, server: Serving, errors: Path, *arguments: str) -> None:
        command: list[str | Path] = [SIEGE, "--port", str(server.port), "--model", "identity", *arguments]
        self._errors = errors
        with errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment()
            )

    def seconds(self) -> list[tuple[float, int]]:
        """For each second until now: the answers a second, and how many requests have failed since the start."""
        found = SECOND.findall(self._errors.read_text())
        return [(float(answered.replace(",", "")), int(failed.replace(",", ""))) for answered, failed, _ in found]

    def wait_for_answers(self) -> None:
        """Those of a second in which everything is answered, after all that there was until now."""
        seen = len(self.seconds())
        eventually(lambda: any(answered > 0.9 * RATE for answered, _ in self.seconds()[seen:]), "a second of answers")

    def wait_for_failures(self) -> None:
        eventually(lambda: any(failed for _, failed in self.seconds()), "a failure")

    def report(self) -> str:
        """What it prints in the end."""
        return str(self.process.communicate(timeout=60)[0])


@contextmanager
def laid(server: Serving, errors: Path, *arguments: str) -> Iterator[Siege]:
    siege = Siege(server, errors, *arguments)
    try:
        yield siege
    finally:
        siege.process.kill()
        siege.process.wait()


@pytest.fixture(params=get_args(TransportName))
def arguments(request: pytest.FixtureRequest) -> list[str]:
    return ["--transport", request.param, "--rate", str(RATE), "--max-lag", "60000"]


def counts(report: str) -> tuple[int, int, int]:
    found = COUNTS.search(report)
    assert found is not None, report
    sent, completed, others = found.groups()
    return int(sent), int(completed), sum(map(int, re.findall(r"\+ \D+(\d+)", others)))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_siege_goes_on_after_its_server_was_away(
    engines: Engines, arguments: list[str], tmp_path: Path, end: signal.Signals
) -> None:
    flags = engines.flags("identity")
    with run_server(*flags) as server, laid(server, tmp_path / "errors", *arguments, "--timeout", "5") as siege:
        siege.wait_for_answers()
        server.signal(end)
        server.exit_code()
        siege.wait_for_failures()
        with run_server(*flags, "--port", str(server.port)):
            siege.wait_for_answers()
            siege.process.send_signal(signal.SIGINT)
            report = siege.report()
    sent, completed, failed = counts(report)
    assert sent == completed + failed
    assert completed > 2 * 0.9 * RATE
    assert failed > 0
    assert siege.process.returncode == 1
    assert set(re.findall(r"failed \d+ x (\w+): \S", report)) == {"UNAVAILABLE"}
    assert "Traceback" not in (tmp_path / "errors").read_text()


def test_a_server_that_hangs_cannot_keep_a_siege(engines: Engines, tmp_path: Path) -> None:
    """It reads nothing, and is sent more than sockets hold. grpcio's calls do not end then, whatever their deadline."""
    large = ("--shape", "INPUT0:1000000", "--timeout", "0.5", "--max-outstanding", "200")
    arguments = ("--transport", "native", "--rate", "40", "--count", "60", "--max-lag", "60000", *large)
    with run_server(*engines.flags("identity")) as server, laid(server, tmp_path / "errors", *arguments) as siege:
        eventually(siege.seconds, "the first second")
        server.signal(signal.SIGSTOP)
        report = siege.report()
    assert siege.process.returncode == 1
    assert set(re.findall(r"failed \d+ x (\w+): \S", report)) == {"DEADLINE_EXCEEDED"}

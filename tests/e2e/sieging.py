"""`siege` as a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.serving import environment, eventually

SIEGE = Path(sys.executable).with_name("siege")
RATE = 100
# Of the lines that siege writes once a second, and of its report.
SECOND = re.compile(r"answered ([\d,]+\.\d)/s .* failed ([\d,]+)(?: \(.*\))?  dropped ([\d,]+)")
COUNTS = re.compile(r"sent ([\d,]+) = completed ([\d,]+) (.*)")


class Siege:
    """The command in a process of its own, at RATE if its arguments say nothing else; `errors` is its stderr."""

    def __init__(self, errors: Path, *arguments: str) -> None:
        command: list[str | Path] = [
            SIEGE,
            "--rate",
            str(RATE),
            "--model",
            "identity",
            "--max-lag",
            "60000",
            *arguments,
        ]
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
def laid(errors: Path, *arguments: str) -> Iterator[Siege]:
    siege = Siege(errors, *arguments)
    try:
        yield siege
    finally:
        siege.process.kill()
        siege.process.wait()


def counts(report: str) -> tuple[int, int, int]:
    """How many requests were sent, were completed and were not."""
    found = COUNTS.search(report)
    assert found is not None, report
    sent, completed, others = found.groups()
    return number(sent), number(completed), sum(map(number, re.findall(r"\+ \D+([\d,]+)", others)))


def number(text: str) -> int:
    return int(text.replace(",", ""))

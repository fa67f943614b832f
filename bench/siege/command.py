"""The siege command, and what it reports."""

import subprocess
import tempfile
from pathlib import Path

from bench.measure import BenchError, script
from bench.transport.contract import METHOD, message
from yais.clients.reporters import document
from yais.clients.stats.report import Report

# Of what goes to the echo server, there and back.
BYTES = 100

_PATIENCE_S = 1200


def besiege(port: int, *options: str) -> Report:
    """Sends to the echo server at `port`, from this process's core. Raises `BenchError` when any request failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        finished = subprocess.run(
            command(port, Path(folder), *options, "--report", str(path)),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
        if not path.exists():
            raise BenchError(f"siege has ended without a report:\n{finished.stderr}")
        return checked(document.read(path))


def command(port: int, folder: Path, *options: str) -> list[str]:
    """How siege sends the echo's message, a file of which goes to `folder`."""
    body = folder / "message"
    body.write_bytes(message(BYTES).SerializeToString())
    target = ("--host", "127.0.0.1", "--port", str(port), "--method", METHOD, "--message", str(body))
    return [script("siege"), *target, *options]


def checked(report: Report) -> Report:
    """Raises `BenchError` unless all that was sent was answered."""
    if report.counts.errors:
        raise BenchError(f"requests of siege failed: {report.statuses}")
    return report

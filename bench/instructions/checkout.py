"""The package `yais` of a commit, built beside the one that is installed."""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from bench.measure import BUILD, ROOT, BenchError, Subject

_FOLDER = BUILD / "checkouts"


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where `yais` is imported from; the folder is None for what is installed."""

    name: str
    folder: Path | None = None

    def command(self, command: Sequence[str]) -> list[str]:
        """`command` with this `yais`; whatever else it imports is the same for all."""
        return ["env", f"PYTHONPATH={self.folder}", *command] if self.folder else list(command)

    def require_loaded(self, subject: Subject) -> None:
        """Raises `BenchError` where a server has loaded the extension modules of somewhere else."""
        maps = [Path(each.path) for each in subject.process.memory_maps()]
        if self.folder and not any(path.is_relative_to(self.folder) for path in maps):
            raise BenchError(f"the server of {self.name} has not loaded what is in {self.folder}")


INSTALLED = Checkout("this checkout")


def checkout(commit: str) -> Checkout:
    """What is kept of `commit` from the last time, or else builds it; raises `BenchError` where that cannot be done."""
    sha = _run(["git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], ROOT, f"{commit} is no commit here")
    name = sha.decode().strip()[:12]
    kept = _FOLDER / f"{name}-{sys.implementation.cache_tag}"
    if not kept.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            os.replace(_build(name, Path(folder)), kept)
    return Checkout(name, kept)


def _build(name: str, folder: Path) -> Path:
    """Builds the sources of a commit in `folder`, and returns the folder within it that holds the package."""
    with tarfile.open(fileobj=BytesIO(_run(["git", "archive", name], ROOT, f"{name} cannot be read"))) as sources:
        sources.extractall(folder, filter="tar")
    built = folder / "build" / "checkout"
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(built)]
    _run(command, folder, f"{name} cannot be built")
    # Without it, where a commit has none, the package would be the installed one after all.
    (built / "yais" / "__init__.py").touch()
    return built


def _run(command: list[str], folder: Path, complaint: str) -> bytes:
    finished = subprocess.run(command, cwd=folder, capture_output=True)
    if finished.returncode:
        raise BenchError(f"{complaint}: {finished.stderr.decode()}")
    return finished.stdout

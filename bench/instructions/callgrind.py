"""Checkouts of a commit under valgrind's callgrind, which counts instructions of all threads, but not the kernel's."""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from bench.measure import BUILD, ROOT, BenchError, NotInstalledError, Subject, running

_FOLDER = BUILD / "checkouts"

TOOLS = ("valgrind", "vgdb", "setarch", "cc")
_CLOCK = Path(__file__).with_name("clock.c")


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
    # Extension modules that were built for one version of Python do not load in another.
    kept = _FOLDER / f"{name}-{sys.implementation.cache_tag}"
    if not kept.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            # All at once, so that no build that was interrupted is ever kept.
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


@dataclass(frozen=True, slots=True)
class CountedProcess:
    """A server whose instructions are counted from `begin` on; its dumps lie beside `output`."""

    subject: Subject
    output: Path

    def begin(self) -> None:
        """Nothing is counted before, for a server starts several times as fast without."""
        self._tell("instrumentation", "on")

    def instructions(self) -> int:
        """How many there were since this was asked last."""
        self._tell("dump")
        # Dumps are numbered, and each sets callgrind's counters back to zero.
        newest = max(self.output.parent.glob(f"{self.output.name}.*"), key=lambda path: int(path.suffix[1:]))
        return total(newest.read_text())

    def _tell(self, *command: str) -> None:
        vgdb = ["vgdb", f"--pid={self.subject.process.pid}", *command]
        told = subprocess.run(vgdb, capture_output=True, text=True)
        if told.returncode:
            raise BenchError(f"{' '.join(vgdb)} failed:\n{told.stderr}")


def total(dump: str) -> int:
    """The instructions of one of callgrind's dumps, of which they must be the only event."""
    events, totals = (re.search(rf"^{key}: (.+)$", dump, re.MULTILINE) for key in ("events", "totals"))
    if not events or events[1] != "Ir" or not totals:
        raise BenchError(f"not a dump of callgrind that counts instructions alone: {dump[:200]!r}")
    return int(totals[1])


@contextmanager
def counted(checkout: Checkout, command: Sequence[str], core: int) -> Iterator[CountedProcess]:
    """Runs a server under callgrind on `core`, with everything the same each time: addresses, hashes, and the time.

    Its clock stands nearly still. Otherwise it would find all its work fifty times as slow as it is, and take decisions
    that depend on that: which runs are short, how much to read at a time, when to rest.
    """
    clock = _compiled_clock()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "callgrind")
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
        # Random hashes would give dicts other collisions in each run.
        environment = ["env", f"LD_PRELOAD={clock}", "PYTHONHASHSEED=0"]
        # callgrind counts what it starts itself, not what that starts in its turn.
        whole = checkout.command([*environment, "setarch", "-R", *valgrind, *command])
        with running(checkout.name, whole, core) as subject:
            try:
                yield CountedProcess(subject, output)
            finally:
                # To drain takes time, which does not pass.
                subject.process.kill()


def _compiled_clock() -> Path:
    compiled = BUILD / "instructions" / "clock.so"
    if not compiled.exists() or compiled.stat().st_mtime < _CLOCK.stat().st_mtime:
        compiled.parent.mkdir(parents=True, exist_ok=True)
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(compiled), str(_CLOCK)]
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode:
            raise NotInstalledError(f"{' '.join(command)} failed:\n{finished.stderr}")
    return compiled

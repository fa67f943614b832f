"""A server under valgrind's callgrind, which counts the instructions of all its threads, but not the kernel's."""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.instructions.checkout import Checkout
from bench.measure import BUILD, BenchError, NotInstalledError, Subject, running

TOOLS = ("valgrind", "vgdb", "setarch", "cc")
_CLOCK = Path(__file__).with_name("clock.c")


@dataclass(frozen=True, slots=True)
class Counted:
    """A server whose instructions are counted from `begin` on; its dumps lie beside `output`."""

    subject: Subject
    output: Path

    def begin(self) -> None:
        """Nothing is counted before, for a server starts several times as fast without."""
        self._tell("instrumentation", "on")

    def instructions(self) -> int:
        """How many there were since this was asked last."""
        self._tell("dump")
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
def counted(checkout: Checkout, command: Sequence[str], core: int) -> Iterator[Counted]:
    """Runs a server under callgrind on `core`, with everything the same each time: addresses, hashes, and the time.

    Its clock stands nearly still. Otherwise it would find all its work fifty times as slow as it is, and take decisions
    that depend on that: which runs are short, how much to read at a time, when to rest.
    """
    clock = _compiled_clock()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "callgrind")
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
        environment = ["env", f"LD_PRELOAD={clock}", "PYTHONHASHSEED=0"]
        # callgrind counts what it starts itself, not what that starts in its turn.
        whole = checkout.command([*environment, "setarch", "-R", *valgrind, *command])
        with running(checkout.name, whole, core) as subject:
            try:
                yield Counted(subject, output)
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

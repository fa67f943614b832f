"""Measurement that all benchmarks share: pinned processes, what CPU and memory they take, and medians of rounds."""

import gc
import os
import re
import resource
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import IO, Any, NamedTuple

import psutil

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
PEERS_FOLDER = BUILD / "peers"

# Of the machine, whichever this process may use: psutil.cpu_times() adds up all of them, too.
_CPUS = os.cpu_count() or 1
# Servers drain before they end; one that takes longer than this is killed.
_STOP_S = 30


class BenchError(Exception):
    """A measurement that cannot be made, or that must not count; the message says why."""


class NotInstalledError(BenchError):
    """What is not installed; the message names it, and who measures goes on without."""


class Size(NamedTuple):
    """How much is measured: so many rounds of so many requests, of all cases that there are or of some that do.

    Most benchmarks have no more cases than they always measure.
    """

    rounds: int
    requests: int
    is_full: bool = False


class Benchmark(NamedTuple):
    """What measures, and returns its rows as dataclasses; and how much of it is a short and a full run."""

    run: Callable[..., Sequence[Any]]
    short: Size
    full: Size


class Cores(NamedTuple):
    """The core of whatever is measured, and the one of the load generator."""

    server: int
    load: int


@dataclass(frozen=True, slots=True)
class Subject:
    """A process under measurement, the port that it serves, and the processes that it started to help it."""

    name: str
    port: int
    process: psutil.Process
    children: tuple[psutil.Process, ...] = ()

    def cpu_s(self) -> float:
        """CPU seconds of all threads so far, in the kernel and outside, to the nanosecond."""
        # psutil's own figure, from /proc, counts in clock ticks of 10 ms.
        return sum(time.clock_gettime(_cpu_clock(process.pid)) for process in (self.process, *self.children))

    def rss(self) -> int:
        """Resident bytes; of the children's no more than what is theirs alone."""
        # Pages that a child shares with its parent are in the parent's figure already.
        return int(self.process.memory_info().rss + sum(child.memory_full_info().uss for child in self.children))


@dataclass(frozen=True, slots=True)
class Child:
    """A program that was started, and how to talk with it."""

    name: str
    process: subprocess.Popen[str]
    log: IO[str]

    def subject(self, port: int) -> Subject:
        """The program as it is now, with all the processes that it has started."""
        process = psutil.Process(self.process.pid)
        return Subject(self.name, port, process, tuple(process.children(recursive=True)))

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # `hear` tells why.
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line; raises `BenchError` with what it complained of when it has ended instead."""
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return line.rstrip()
        raise self._ended()

    def require_running(self) -> None:
        """Raises `BenchError` with what it complained of when it has ended."""
        if self.process.poll() is not None:
            raise self._ended()

    def _ended(self) -> BenchError:
        self.log.seek(0)
        return BenchError(f"{self.name} has ended:\n{self.log.read()}")


@dataclass(frozen=True, slots=True)
class Usage:
    """Wall seconds, and CPU seconds of the subject, of whoever loads it and of everybody else.

    Those who load it are this process, the programs that it ran and saw end, and a process at the other end, if given.
    """

    seconds: float
    subject: float
    load: float
    others: float

    @property
    def others_share(self) -> float:
        """What everybody else had, in cores; the machine's idle time is known to a clock tick (10 ms)."""
        return max(0.0, self.others / self.seconds)

    def __sub__(self, before: "Usage") -> "Usage":
        return Usage(
            self.seconds - before.seconds,
            self.subject - before.subject,
            self.load - before.load,
            self.others - before.others,
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Figures of all rounds; their median stands for them."""

    median: float
    least: float
    most: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Spread":
        return cls(median(rounds), min(rounds), max(rounds), tuple(rounds))


def usage(subject: Subject, other_end: Subject | None = None) -> Usage:
    """All counters as they stand now; the difference of two tells what happened in between."""
    machine, ended = psutil.cpu_times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    # Children count here once they have ended: h2load does, servers and clients that are still running do not.
    load = process_time() + ended.ru_utime + ended.ru_stime + (other_end.cpu_s() if other_end else 0)
    mine, now = subject.cpu_s(), perf_counter()
    # Of what is idle the kernel keeps an exact account, but of what is busy it takes samples.
    busy = _CPUS * now - machine.idle - machine.iowait
    return Usage(now, mine, load, busy - mine - load)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def choose_cores() -> Cores:
    """The first two cores that this process may use."""
    # In a container, or under taskset, these may be fewer than the machine has, and need not begin at 0.
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("Two cores are needed, one for the server and one for the load; this process may use one")
    return Cores(usable[0], usable[1])


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keeps this thread, and whatever it starts meanwhile, on `core`; leaves it where it may be with None."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def uncollected() -> Iterator[None]:
    """Spares a load generator the collector, which would go through all that is in flight in the midst of a burst."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def launched(name: str, command: Sequence[str], core: int | None, heard: bool = True) -> Iterator[Child]:
    """Runs a program on `core`, and ends it afterwards; what it prints goes to its log where nobody will hear it."""
    with tempfile.TemporaryFile("w+") as log:
        with pinned(core):
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                # A pipe that nobody reads fills up and then blocks the program.
                stdout=subprocess.PIPE if heard else log,
                stderr=log,
                text=True,
            )
        try:
            yield Child(name, process, log)
        finally:
            _stop(process)


@contextmanager
def running(name: str, command: Sequence[str], core: int | None) -> Iterator[Subject]:
    """Runs a server on `core` and waits for the line of its banner that names the gRPC port."""
    with launched(name, command, core) as child:
        yield child.subject(_port(child))


def yais(*engines: Path, port: int = 0) -> list[str]:
    """The command of the server, with its defaults apart from the ports."""
    flags = [flag for engine in engines for flag in ("--engine", str(engine))]
    # 0 picks a free port: the metrics stay on, for they are a part of the cost.
    return [script("inference-grpc"), *flags, "--port", str(port), "--metrics", "0"]


def engine(name: str) -> Path:
    """The file of an engine of `engine-build`, built when it is not there yet."""
    # Kept from run to run: after a change of the recipe the folder has to be deleted.
    path = BUILD / f"{name}.onnx"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [script("engine-build"), name, "-o", str(path)]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise BenchError(f"engine-build could not build {name}")
    return path


def script(name: str) -> str:
    """A command of YAIS, of this environment or, where it was installed elsewhere, on PATH."""
    own = Path(sysconfig.get_path("scripts")) / name
    return str(own if own.exists() else shutil.which(name) or own)


def _cpu_clock(pid: int) -> int:
    """What clock_getcpuclockid(3) says on Linux."""
    # 2 is the kernel's CPUCLOCK_SCHED, which counts nanoseconds; the bit 4 would make it a thread's clock.
    return ~pid << 3 | 2


def _port(child: Child) -> int:
    while True:
        if found := re.search(r"gRPC\s+\S+:(\d+)$", child.hear()):
            return int(found[1])


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in filter(None, (process.stdin, process.stdout)):
        with suppress(BrokenPipeError):
            pipe.close()

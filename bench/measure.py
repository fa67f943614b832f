"""What the benchmarks share: servers as pinned processes, what CPU and memory they take, and medians of rounds."""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import IO, NamedTuple

import psutil

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"

_STOP_S = 30


class BenchError(Exception):
    """A measurement that cannot be made, or that must not count; the message says why."""


class NotInstalledError(BenchError):
    """What is not installed; the message names it, and who measures goes on without."""


class Size(NamedTuple):
    """How much is measured of each case: so many rounds of so many requests."""

    rounds: int
    requests: int


class Cores(NamedTuple):
    """The core of whatever is measured, and the one of the load generator."""

    server: int
    load: int


@dataclass(frozen=True, slots=True)
class Subject:
    """A process under measurement, and the port that it serves."""

    name: str
    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU seconds of all its threads so far, from /proc/PID/stat, in steps of a clock tick (10 ms)."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss)


@dataclass(frozen=True, slots=True)
class Child:
    """A program that was started, and how to talk with it."""

    name: str
    process: subprocess.Popen[str]
    log: IO[str]

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
        self.log.seek(0)
        raise BenchError(f"{self.name} has ended:\n{self.log.read()}")


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
        """What everybody else had, in cores. Kernel counters of processes and of the machine differ by a few ticks."""
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
    machine, own = psutil.cpu_times(), os.times()
    busy = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    load = process_time() + own.children_user + own.children_system + (other_end.cpu_s() if other_end else 0)
    mine = subject.cpu_s()
    return Usage(perf_counter(), mine, load, busy - mine - load)


def choose_cores() -> Cores:
    """The first two cores that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("Two cores are needed, one for the server and one for the load; this process may use one")
    return Cores(usable[0], usable[1])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keeps this thread, and whatever it starts meanwhile, on `core`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def launched(name: str, command: Sequence[str], core: int) -> Iterator[Child]:
    """Runs a program on `core`, and ends it afterwards."""
    with tempfile.TemporaryFile("w+") as log:
        with pinned(core):
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            yield Child(name, process, log)
        finally:
            _stop(process)


@contextmanager
def running(name: str, command: Sequence[str], core: int) -> Iterator[Subject]:
    """Runs a server on `core` and waits for the line of its banner that names the gRPC port."""
    with launched(name, command, core) as child:
        yield Subject(name, _port(child), psutil.Process(child.process.pid))


def yais(*engines: Path) -> list[str]:
    """The command of the server, with its defaults apart from the ports."""
    flags = [flag for engine in engines for flag in ("--engine", str(engine))]
    return [_script("inference-grpc"), *flags, "--port", "0", "--metrics", "0"]


def echo() -> list[str]:
    """The command of the bare grpc.aio server."""
    return [sys.executable, "-m", "bench.echo"]


def engine(name: str) -> Path:
    """The file of an engine of `engine-build`, built when it is not there yet."""
    path = BUILD / f"{name}.onnx"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [_script("engine-build"), name, "-o", str(path)]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise BenchError(f"engine-build could not build {name}")
    return path


def _script(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)


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
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.close()

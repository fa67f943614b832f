"""The bare engine as seen from outside: `bench.gpu.bare_engine` in a process of its own."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from bench.gpu.bare_engine import Timing
from bench.gpu.opening import Way
from bench.measure import BenchError, Child, NotInstalledError, launched

Case = TypeVar("Case")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bare:
    """An engine that is open, and has nothing to do but when it is asked."""

    child: Child

    def __call__(self, rows: int, milliseconds: float) -> Timing:
        """Raises `BenchError`."""
        self.child.say(f"{rows} {milliseconds}")
        return Timing(**json.loads(self.child.hear()))


@contextmanager
def bare(path: Path, way: Way) -> Iterator[Bare]:
    """Raises `BenchError` with why the engine cannot be opened."""
    command = [sys.executable, "-m", "bench.gpu.bare_engine", str(path), *way.flags()]
    with launched(f"{path.name} by itself", command, None) as child:
        child.hear()
        yield Bare(child)


def each(
    cases: Iterable[Case], measure: Callable[[Case], Iterable[Result]], title: Callable[[Case], str]
) -> list[Result]:
    """The results of all cases that can be measured; of the others it is told why not, in full where that is new.

    Raises `NotInstalledError` when none can.
    """
    results: list[Result] = []
    reasons = {"there is none"}
    for case in cases:
        try:
            results.extend(measure(case))
        except BenchError as error:
            text = str(error).strip()
            reason = text.rpartition("\n")[2]
            click.echo(f"  without {title(case)}: {reason if reason in reasons else text}", err=True)
            reasons.add(reason)
    if not results:
        raise NotInstalledError("no case could be measured")
    return results

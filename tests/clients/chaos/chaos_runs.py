"""The fake in a process of its own, and courses of attacks on it from this one."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import chaos_fake
import numpy as np
from chaos_fake import MODEL

from yais.clients.protocol import infer_request
from yais.clients.siege.chaos import canary_process
from yais.clients.siege.chaos.catalogue import Attack, catalogue
from yais.clients.siege.chaos.course import Course, Outcome, Plan
from yais.clients.siege.chaos.page import Reader
from yais.clients.siege.chaos.promises import MB, Terms
from yais.clients.siege.transports import TransportName, has_native

ATTACKS = catalogue()
TRANSPORT: TransportName = "native" if has_native() else "grpcio"
# Beyond what a busy machine makes of it.
PATIENT_MS = 20_000.0


class Running:
    """The fake in a process of its own: the transport is for one event loop a process, which here is the attacker's."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self.name = name
        self.port, self.metrics_port = map(int, self._hear().split())

    def be(self, defect: str) -> None:
        """From now on it is as one that forgets, counts twice, leaks files..."""
        self._say(f"be {defect}")

    def heal(self) -> None:
        """It has no defect any more, and nothing of what it has leaked."""
        self._say("heal ")

    def add(self, count: str, by: int) -> None:
        """Makes one of its figures larger than it is."""
        self._say(f"{count} {by}")

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._hear() == "done\n"

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def running(name: str = "yais") -> Iterator[Running]:
    command = [sys.executable, chaos_fake.__file__, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process, name)
        finally:
            process.kill()


def request() -> Any:
    return infer_request(MODEL, {"INPUT0": np.arange(4, dtype=np.float32)})


def plan_for(fake: Running, **changes: Any) -> Plan:
    terms = Terms(PATIENT_MS, 50 * MB, counts_refusals=fake.name == "yais")
    plan = Plan("127.0.0.1", fake.port, TRANSPORT, request(), 1, 0.15, 8, 5.0, 10.0, terms)
    return replace(plan, **changes)


def order_for(fake: Running, patience: float) -> canary_process.Order:
    return canary_process.order(f"127.0.0.1:{fake.port}", request().SerializeToString(), 100.0, patience, TRANSPORT)


async def outcomes_of(
    fake: Running,
    attacks: Sequence[Attack],
    after_each: Callable[[], None] = lambda: None,
    reader: Reader | None = None,
    **changes: Any,
) -> dict[str, Outcome]:
    """By the attack's name."""
    plan = plan_for(fake, **changes)
    async with canary_process.called(order_for(fake, plan.patience)) as canary:
        course = Course(plan, reader or Reader("127.0.0.1", fake.metrics_port, MODEL), canary)
        return {outcome.attack: outcome for outcome in await course.run(attacks, lambda outcome: after_each())}


def broken(outcome: Outcome) -> set[str]:
    return {finding.promise for finding in outcome.findings if finding.state == "broke"}

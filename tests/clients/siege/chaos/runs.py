"""Runs of attacks on the fake server, which is in a process of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from clients.siege.chaos.fake_server import MODEL

from clients.siege.chaos import fake_server
from yais.clients.protocol import infer_request
from yais.clients.siege.chaos.attacks import all_attacks
from yais.clients.siege.chaos.canary import CanaryConfig, start_canary
from yais.clients.siege.chaos.invariants import MB, Limits, Scraper
from yais.clients.siege.chaos.runner import Attack, AttackResult, ChaosConfig, ChaosRunner
from yais.clients.siege.transports import TransportName, has_native

ATTACKS = all_attacks()
TRANSPORT: TransportName = "native" if has_native() else "grpcio"
# Beyond what a busy machine makes of it.
PATIENT_MS = 20_000.0


class Running:
    """The fake in a process of its own: the transport is for one event loop a process, which here is the attacker's."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self.name = name
        self.port, self.metrics_port = map(int, self._read_line().split())

    def be(self, defect: str) -> None:
        """From now on it is as one that forgets, counts twice, leaks files..."""
        self._command(f"be {defect}")

    def heal(self) -> None:
        """It has no defect any more, and nothing of what it has leaked."""
        self._command("heal ")

    def add(self, count: str, by: int) -> None:
        """Makes one of its figures larger than it is."""
        self._command(f"{count} {by}")

    def _command(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._read_line() == "done\n"

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def running(name: str = "yais") -> Iterator[Running]:
    command = [sys.executable, fake_server.__file__, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process, name)
        finally:
            process.kill()


def request() -> Any:
    return infer_request(MODEL, {"INPUT0": np.arange(4, dtype=np.float32)})


def config_for(fake: Running, **changes: Any) -> ChaosConfig:
    limits = Limits(PATIENT_MS, 50 * MB, counts_refusals=fake.name == "yais")
    config = ChaosConfig(
        host="127.0.0.1",
        port=fake.port,
        transport=TRANSPORT,
        request=request(),
        seed=1,
        duration=0.15,
        load=8,
        timeout=5.0,
        settle=10.0,
        limits=limits,
    )
    return replace(config, **changes)


def canary_for(fake: Running, timeout: float) -> CanaryConfig:
    body = request().SerializeToString()
    return CanaryConfig.of(body, target=f"127.0.0.1:{fake.port}", rate=100.0, timeout=timeout, transport=TRANSPORT)


async def results_of(
    fake: Running,
    attacks: Sequence[Attack],
    after_each: Callable[[], None] = lambda: None,
    scraper: Scraper | None = None,
    **changes: Any,
) -> dict[str, AttackResult]:
    """By the attack's name."""
    config = config_for(fake, **changes)
    async with start_canary(canary_for(fake, config.timeout)) as canary:
        runner = ChaosRunner(config, scraper or Scraper("127.0.0.1", fake.metrics_port, MODEL), canary)
        return {result.attack: result for result in await runner.run(attacks, lambda result: after_each())}


def broken(result: AttackResult) -> set[str]:
    return {finding.invariant for finding in result.findings if finding.state == "broke"}

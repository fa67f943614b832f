"""The canary's process, as the course of the attacks sees it."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from yais.clients.siege.chaos.ledger import Ledger, Shot
from yais.clients.siege.transports import TransportName

_START_S = 30.0
_LIMIT_BYTES = 2**26
_CHECKED = Shot(b"", "a request of the canary")


class CanaryError(Exception):
    """The canary could not do its part."""


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """What the canary saw in one window; times in milliseconds, 0 without any."""

    sent: int
    answered: int
    wrong: int
    failures: dict[str, int]
    p50: float
    p99: float
    worst: float
    lag_p99: float

    @classmethod
    def of(cls, window: dict[str, Any]) -> Self:
        """Of a `canary.Window` as JSON has it."""
        p50, p99, worst = _quantiles(window["latency"], (0.5, 0.99, 1.0))
        (lag_p99,) = _quantiles(window["lag"], (0.99,))
        counts = {name: window[name] for name in ("sent", "answered", "wrong", "failures")}
        return cls(**counts, p50=p50, p99=p99, worst=worst, lag_p99=lag_p99)

    @property
    def lost(self) -> int:
        return self.sent - self.answered


@dataclass(frozen=True, slots=True)
class Order:
    """What the canary is to do: `request` is a ModelInferRequest in base64, `rate` a second."""

    target: str
    request: str
    rate: float
    timeout: float
    transport: TransportName


class CanaryProcess:
    """Opens windows on the canary and hears what came of them."""

    def __init__(self, process: asyncio.subprocess.Process, patience: float) -> None:
        self._process = process
        self._patience = patience

    def begin(self) -> None:
        self._say("begin")

    async def end(self, ledger: Ledger) -> CanaryReport:
        """Its requests go into `ledger` with those of the attack."""
        self._say("end")
        window = json.loads(await self.hear(self._patience))
        ledger.answered += window["answered"]
        for status, count in window["statuses"].items():
            for _ in range(count):
                ledger.sent(_CHECKED)
                ledger.ended(_CHECKED, int(status))
        return CanaryReport.of(window)

    async def hear(self, patience: float) -> str:
        """The next line. Raises CanaryError when there is none."""
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), patience)  # type: ignore[union-attr]
        except TimeoutError:
            raise CanaryError(f"the canary said nothing for {patience:g} s") from None
        if not line:
            raise CanaryError(f"the canary ended with {await self._process.wait()}")
        return bytes(line).decode()

    def _say(self, word: str) -> None:
        """To one that has gone nothing is said; that it has is what is heard next."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(f"{word}\n".encode())


@asynccontextmanager
async def called(order: Order) -> AsyncIterator[CanaryProcess]:
    """A canary that is connected. Raises CanaryError when it cannot be."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "yais.clients.siege.chaos.canary"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LIMIT_BYTES,
    )
    canary = CanaryProcess(process, 2 * order.timeout + _START_S)
    try:
        canary._say(json.dumps(asdict(order)))
        await canary.hear(_START_S)
        yield canary
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def order(target: str, request: bytes, rate: float, patience: float, transport: TransportName) -> Order:
    return Order(target, base64.b64encode(request).decode(), rate, patience, transport)


def _quantiles(nanoseconds: list[int], quantiles: tuple[float, ...]) -> list[float]:
    if not nanoseconds:
        return [0.0] * len(quantiles)
    values = np.quantile(np.array(nanoseconds), quantiles, method="inverted_cdf") / 1e6
    return [float(value) for value in values]

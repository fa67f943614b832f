"""Canary: a client that does no harm and measures how long it waits, in a process of its own, and its parent's side.

The process, `python -m yais.clients.siege.chaos.canary`, is one of its own so that what it waits for is the server and
not an attack's work. A line of JSON on its stdin says which target to call with what; after that `begin` starts a
window in which it calls at a constant rate, whatever the replies do, and `end` closes it: it waits for what is in
flight, and prints a line of JSON with what became of all calls.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from time import monotonic_ns
from typing import Any, Self

import grpc
import numpy as np
import uvloop
from google.protobuf.message import DecodeError

from yais.clients.protocol import MODEL_INFER
from yais.clients.siege.open_loop import Timer
from yais.clients.siege.transports import TransportName, open_callable
from yais.clients.stats.outcomes import STATUS_NUMBERS
from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

_SECOND = 1_000_000_000
# Calls, and the seconds within which the process has to be ready.
_WARM_UP = 20
_START_S = 30.0
# A window's report has a figure for each call.
_LINE_BYTES = 2**26


class CanaryError(Exception):
    """The canary could not do its part."""


@dataclass(frozen=True, slots=True)
class CanaryConfig:
    """What the canary calls with: `request` is a ModelInferRequest in base64, `rate` is a second."""

    target: str
    request: str
    rate: float
    timeout: float
    transport: TransportName

    @classmethod
    def of(cls, request: bytes, *, target: str, rate: float, timeout: float, transport: TransportName) -> Self:
        """For a serialized ModelInferRequest."""
        encoded = base64.b64encode(request).decode()
        return cls(target=target, request=encoded, rate=rate, timeout=timeout, transport=transport)


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """What the canary measured in one window; times in milliseconds, 0 without any; `statuses` are gRPC's numbers."""

    sent: int
    answered: int
    wrong: int
    failures: dict[str, int]
    p50: float
    p99: float
    worst: float
    lag_p99: float
    statuses: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, window: dict[str, Any]) -> Self:
        """Of a CanaryWindow as JSON has it."""
        p50, p99, worst = _quantiles(window["latency"], (0.5, 0.99, 1.0))
        (lag_p99,) = _quantiles(window["lag"], (0.99,))
        counts = {name: window[name] for name in ("sent", "answered", "wrong", "failures")}
        # JSON's keys are texts.
        statuses = {int(status): count for status, count in window["statuses"].items()}
        return cls(**counts, p50=p50, p99=p99, worst=worst, lag_p99=lag_p99, statuses=statuses)

    @property
    def lost(self) -> int:
        return self.sent - self.answered


class CanaryProcess:
    """Handle of the canary's process: opens windows and reads their reports."""

    def __init__(self, process: asyncio.subprocess.Process, timeout: float) -> None:
        self._process = process
        self._timeout = timeout

    def begin(self) -> None:
        self.write_line("begin")

    async def end(self) -> CanaryReport:
        """Raises CanaryError when there is no report."""
        self.write_line("end")
        return CanaryReport.of(json.loads(await self.read_line(self._timeout)))

    async def read_line(self, within: float) -> str:
        """Raises CanaryError when there is no line within that many seconds."""
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), within)  # type: ignore[union-attr]
        except TimeoutError:
            raise CanaryError(f"the canary wrote nothing for {within:g} s") from None
        if not line:
            raise CanaryError(f"the canary ended with {await self._process.wait()}")
        return bytes(line).decode()

    def write_line(self, line: str) -> None:
        """Writes nothing to a process that has ended; the next read finds that out."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(f"{line}\n".encode())


@asynccontextmanager
async def start_canary(config: CanaryConfig) -> AsyncIterator[CanaryProcess]:
    """A canary that is connected. Raises CanaryError when it cannot be."""
    process = await asyncio.create_subprocess_exec(
        # The standard error stays the parent's: what the canary says when it gives up is for the user.
        *(sys.executable, "-m", "yais.clients.siege.chaos.canary"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    # At the end of a window calls may be in flight for `timeout`; the rest is for a busy machine.
    canary = CanaryProcess(process, 2 * config.timeout + _START_S)
    try:
        canary.write_line(json.dumps(asdict(config)))
        await canary.read_line(_START_S)
        yield canary
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _quantiles(nanoseconds: list[int], quantiles: tuple[float, ...]) -> list[float]:
    if not nanoseconds:
        return [0.0] * len(quantiles)
    # A value that was measured, as in siege's reports, not one between two of them.
    values = np.quantile(np.array(nanoseconds), quantiles, method="inverted_cdf") / 1e6
    return [float(value) for value in values]


@dataclass(slots=True)
class CanaryWindow:
    """The calls of one window, as the process prints them.

    `latency` is from the due time to the answer, of those answered, `lag` from the due time to the send, of all; both
    in nanoseconds. Failures are in `statuses` by gRPC's number and in `failures` by text; `wrong` are answers to
    another request.
    """

    sent: int = 0
    answered: int = 0
    wrong: int = 0
    latency: list[int] = field(default_factory=list)
    lag: list[int] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def fail(self, status: int, text: str) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.failures[text] = self.failures.get(text, 0) + 1


class Canary:
    """Calls `method` with `request` so many times a second, each time under an id that the answer must repeat."""

    def __init__(self, method: Any, request: ModelInferRequest, rate: float, timeout: float) -> None:
        self._method = method
        self._request = request
        self._interval = round(_SECOND / rate)
        self._timeout = timeout
        self._sent = 0
        self._window = CanaryWindow()
        self._calls: set[asyncio.Task[None]] = set()
        self._size: int | None = None

    async def watch(self, over: asyncio.Event) -> CanaryWindow:
        """One window, until it is over; at least one call."""
        self._window, due = CanaryWindow(), monotonic_ns()

        def fire() -> int | None:
            nonlocal due
            # After a stall all that is overdue is sent at once, and the delay is part of the lag.
            while due <= monotonic_ns():
                self._begin(due)
                due += self._interval
            return None if over.is_set() else due

        timer = Timer(fire)

        async def wake() -> None:
            await over.wait()
            timer.wake()

        stopper = asyncio.create_task(wake())
        await timer.run()
        await stopper
        if self._calls:
            await asyncio.wait(self._calls)
        return self._window

    def _begin(self, due: int) -> None:
        self._sent += 1
        self._window.sent += 1
        task = asyncio.create_task(self._call(f"canary-{self._sent:09}", due))
        # The event loop itself holds only weak references to tasks.
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, request_id: str, due: int) -> None:
        window = self._window
        # All calls share the message: it is serialised before anything is awaited.
        self._request.id = request_id
        body = self._request.SerializeToString()
        window.lag.append(monotonic_ns() - due)
        try:
            answer = await self._method(body, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            window.fail(STATUS_NUMBERS[error.code()], f"{error.code().name}: {error.details()}")
            return
        window.answered += 1
        window.latency.append(monotonic_ns() - due)
        window.wrong += not self._is_expected(answer, request_id)

    def _is_expected(self, answer: bytes, request_id: str) -> bool:
        """It repeats the id, and is as long as all others."""
        # All ids have the same length, and so must have the answers.
        self._size = len(answer) if self._size is None else self._size
        try:
            return ModelInferResponse.FromString(answer).id == request_id and len(answer) == self._size
        except DecodeError:
            return False


async def serve(config: CanaryConfig) -> None:
    """Calls in the windows that stdin opens and closes, all of them on one connection."""
    request = ModelInferRequest.FromString(base64.b64decode(config.request))
    channel, _ = open_callable(config.transport, config.target, MODEL_INFER)
    async with channel:
        await channel.channel_ready()
        method: Any = channel.unary_unary(MODEL_INFER)
        # What is slow only the first time is not usual.
        try:
            for _ in range(_WARM_UP):
                await method(request.SerializeToString(), timeout=config.timeout)
        except grpc.aio.AioRpcError as error:
            sys.exit(f"the canary is refused before any attack: {error.code().name}: {error.details()}")
        canary = Canary(method, request, config.rate, config.timeout)
        print("ready", flush=True)
        # In a thread, since to read a line blocks.
        while await asyncio.to_thread(sys.stdin.readline) == "begin\n":
            over = asyncio.Event()
            window = asyncio.create_task(canary.watch(over))
            await asyncio.to_thread(sys.stdin.readline)
            over.set()
            print(json.dumps(asdict(await window)), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(CanaryConfig(**json.loads(sys.stdin.readline()))))

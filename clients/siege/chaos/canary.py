"""The canary, `python -m yais.clients.siege.chaos.canary`: a client that does no harm, and notes how long it waits.

It is a process of its own, so that what it waits for is the server and not an attack's own work. A line of JSON on its
stdin says whom to call with what; after that `begin` starts a window in which it calls at a constant rate, whatever the
replies do, and `end` closes it: what is in flight is waited for, and a line of JSON tells what became of it all.
"""

import asyncio
import base64
import json
import sys
from dataclasses import asdict, dataclass, field
from time import monotonic_ns
from typing import Any

import grpc
import uvloop
from google.protobuf.message import DecodeError

from yais.clients.siege.chaos.peer import METHOD
from yais.clients.siege.open_loop import Timer as Alarm
from yais.clients.siege.transports import open_callable as open_line
from yais.clients.stats.outcomes import STATUS_NUMBERS
from yais.proto.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

_SECOND = 1_000_000_000
_WARM_UP = 20


@dataclass(slots=True)
class Window:
    """What became of the calls of one window.

    `latency` is from the due time to the answer, of those answered, `lag` from the due time to the send, of all; both
    in nanoseconds. Failures are in `statuses` by gRPC's number and in `failures` by text; `wrong` are answers to
    something else than was asked.
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
        self._asked = 0
        self._window = Window()
        self._calls: set[asyncio.Task[None]] = set()
        self._size: int | None = None

    async def watch(self, over: asyncio.Event) -> Window:
        """One window, until it is over; at least one call."""
        self._window, due = Window(), monotonic_ns()

        def ring() -> int | None:
            nonlocal due
            while due <= monotonic_ns():
                self._begin(due)
                due += self._interval
            return None if over.is_set() else due

        alarm = Alarm(ring)
        stopper = asyncio.create_task(_wake(over, alarm))
        await alarm.run()
        await stopper
        if self._calls:
            await asyncio.wait(self._calls)
        return self._window

    def _begin(self, due: int) -> None:
        self._asked += 1
        self._window.sent += 1
        task = asyncio.create_task(self._ask(f"canary-{self._asked:09}", due))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _ask(self, request_id: str, due: int) -> None:
        window = self._window
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
        window.wrong += not self._is_ours(answer, request_id)

    def _is_ours(self, answer: bytes, request_id: str) -> bool:
        """It repeats the id, and is as long as all others."""
        self._size = len(answer) if self._size is None else self._size
        try:
            return ModelInferResponse.FromString(answer).id == request_id and len(answer) == self._size
        except DecodeError:
            return False


async def _wake(over: asyncio.Event, alarm: Alarm) -> None:
    await over.wait()
    alarm.wake()


async def serve(order: dict[str, Any]) -> None:
    """Keeps one connection for all windows."""
    request = ModelInferRequest.FromString(base64.b64decode(order["request"]))
    channel, _ = open_line(order["transport"], order["target"], METHOD)
    async with channel:
        await channel.channel_ready()
        method: Any = channel.unary_unary(METHOD)
        # What is slow only once is not what is usual.
        try:
            for _ in range(_WARM_UP):
                await method(request.SerializeToString(), timeout=order["timeout"])
        except grpc.aio.AioRpcError as error:
            sys.exit(f"the canary is refused before any attack: {error.code().name}: {error.details()}")
        canary = Canary(method, request, order["rate"], order["timeout"])
        print("ready", flush=True)
        while await _heard() == "begin":
            over = asyncio.Event()
            window = asyncio.create_task(canary.watch(over))
            await _heard()
            over.set()
            print(json.dumps(asdict(await window)), flush=True)


async def _heard() -> str:
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.stdin.readline())))

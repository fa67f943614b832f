"""In-flight requests, from their send to their record."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic_ns

import grpc

from yais.clients.siege.balancer import RoundRobinPicker
from yais.clients.siege.transports import UnaryCall, UnaryCallable
from yais.clients.stats.outcomes import OK, STATUS_NAMES, STATUS_NUMBERS
from yais.clients.stats.recorder import Recorder

NextRequest = Callable[[], tuple[int, bytes]]
"""Gives the next request to send: its kind, and its bytes."""

Check = Callable[[bytes, bytes], str | None]
"""Takes a request and the answer to it; gives what is wrong with that, None for nothing."""

_CANCELLED = STATUS_NUMBERS[grpc.StatusCode.CANCELLED]
_UNKNOWN, _UNAVAILABLE = STATUS_NUMBERS[grpc.StatusCode.UNKNOWN], STATUS_NUMBERS[grpc.StatusCode.UNAVAILABLE]


class InFlight:
    """Sends requests and writes down what became of them; `on_done` is called after each.

    The `callables`, one a connection, are picked in turn. A call that the server refused unseen is sent again, once, on
    the next.
    """

    def __init__(
        self,
        callables: RoundRobinPicker | Sequence[UnaryCallable],
        next_request: NextRequest,
        recorder: Recorder,
        *,
        timeout: float,
        check: Check | None = None,
        on_done: Callable[[], object] = lambda: None,
    ) -> None:
        self._picker = callables if isinstance(callables, RoundRobinPicker) else RoundRobinPicker(callables)
        self._next_request = next_request
        self._recorder = recorder
        self._timeout = timeout
        self._check = check
        self._on_done = on_done
        # What is in flight: due, sent, kind, request, and whether it may be sent again.
        self._calls: dict[UnaryCall, tuple[int, int, int, bytes, bool]] = {}
        self._none_in_flight = asyncio.Event()

    def __len__(self) -> int:
        return len(self._calls)

    def send(self, due: int, now: int) -> None:
        kind, request = self._next_request()
        self._send(due, now, kind, request, may_repeat=True)

    def drop(self, due: int) -> None:
        kind, _ = self._next_request()
        self._recorder.drop(due, kind)

    def cancel(self) -> None:
        """Ends what is in flight, as cancelled."""
        # A copy, because `_ended` removes calls from the dict.
        for call in list(self._calls):
            call.cancel(_CANCELLED, "cancelled by siege")

    async def wait_idle(self) -> None:
        while self._calls:
            self._none_in_flight.clear()
            await self._none_in_flight.wait()

    def _send(self, due: int, sent: int, kind: int, request: bytes, may_repeat: bool) -> None:
        try:
            call = self._picker.pick()(request, self._ended, self._timeout)
        except ConnectionError as error:
            self._fail(due, sent, kind, _UNAVAILABLE, str(error))
        except Exception as error:
            # Whatever else a callable raises, the run goes on and the counts add up.
            self._fail(due, sent, kind, _UNKNOWN, repr(error))
        else:
            self._calls[call] = due, sent, kind, request, may_repeat

    def _ended(self, call: UnaryCall) -> None:
        due, sent, kind, request, may_repeat = self._calls.pop(call)
        if call.status == OK:
            self._succeed(call, due, sent, kind, request)
        # gRPC's transparent retry (gRFC A6): once for REFUSED_STREAM and for streams above a GOAWAY's last one.
        elif may_repeat and call.was_refused:
            self._send(due, sent, kind, request, may_repeat=False)
        else:
            self._fail(due, sent, kind, call.status if call.status in STATUS_NAMES else _UNKNOWN, call.details)
        if not self._calls:
            self._none_in_flight.set()

    def _succeed(self, call: UnaryCall, due: int, sent: int, kind: int, request: bytes) -> None:
        # Before the check, whose time is siege's own and no part of the latency.
        done = monotonic_ns()
        wrong = None if self._check is None else self._check(request, bytes(call.message or b""))
        if wrong is None:
            self._recorder.add(due, sent, done, kind=kind)
        else:
            self._recorder.add_wrong(due, sent, done, wrong, kind)
        self._on_done()

    def _fail(self, due: int, sent: int, kind: int, status: int, details: str) -> None:
        self._recorder.add_failure(due, sent, monotonic_ns(), status, details or "no details given", kind)
        self._on_done()

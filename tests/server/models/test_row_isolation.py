"""Whatever is sent, cancelled or expired beside it, a request gets its own rows, transformed, in order, once."""

import asyncio
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import uvloop
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from server.fake_engine import FakeEngine, fixed, options, refuse_negative_rows
from server.fake_requests import FakeRequest, expected, give_up
from yais.server.errors import EngineFailureError, ExpiredError, QueueFullError
from yais.server.models.model import Model, ModelOptions

PAST = 1
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Send:
    rows: int
    width: int
    deadline: int | None = None
    has_bad_row: bool = False


@dataclass(frozen=True)
class Cancel:
    """Gives up the request that is `back` before the latest."""

    back: int


@dataclass(frozen=True)
class LetRun:
    """Some ticks of the loop, or as many as it takes until every request has its reply."""

    ticks: int | None


Step = Send | Cancel | LetRun

sends = st.builds(
    Send,
    rows=st.integers(0, 8),
    width=st.sampled_from([1, 2, 2, 2, 3]),
    deadline=st.sampled_from([None] * 6 + [PAST, 2**62]),
    has_bad_row=st.sampled_from([False] * 7 + [True]),
)
cancels = st.builds(Cancel, st.integers(0, 5))
pauses = st.builds(LetRun, st.sampled_from([None, None, 1, 2, 3]))
scripts = st.lists(st.one_of(sends, sends, sends, sends, cancels, pauses), min_size=5, max_size=60)
pools = st.builds(
    options,
    contexts=st.sampled_from([1, 2, 5]),
    buffers=st.integers(5, 8),
    delay=st.sampled_from([0, 0, 0, 200_000]),
    queue=st.sampled_from([3, 1000]),
)


@dataclass
class Caller:
    """Plays a script against a model, and keeps what was asked and what came of it."""

    model: Model
    sent: list[tuple[Send, FakeRequest]] = field(default_factory=list)
    cancelled: dict[FakeRequest, int] = field(default_factory=dict)
    refused: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: "count[int]" = field(default_factory=lambda: count(10))

    async def play(self, script: list[Step]) -> None:
        for step in script:
            match step:
                case Send():
                    self.send(step)
                case Cancel(back) if back < len(self.sent):
                    self.cancel(self.sent[-1 - back][1])
                case LetRun(None):
                    await self.all_settled()
                case LetRun(ticks):
                    for _ in range(ticks):
                        await asyncio.sleep(0)
        await self.all_settled()

    def send(self, send: Send) -> None:
        """Rows of numbers that no other request has; the engine refuses negative ones."""
        rows = min(send.rows, self.model.engine.max_batch_size)
        values = np.array([next(self.numbers) for _ in range(rows * send.width)], np.int64)
        if send.has_bad_row:
            values[-1:] *= -1
        request = FakeRequest(values.reshape(rows, send.width), send.deadline)
        request.on_reply = self.settled.set
        try:
            self.model.pool.add(request)
        except QueueFullError:
            self.refused += 1
        else:
            self.sent.append((send, request))

    def cancel(self, request: FakeRequest) -> None:
        self.cancelled.setdefault(request, len(request.replies))
        give_up(self.model, request)

    async def all_settled(self) -> None:
        while any(not request.replies for _, request in self.sent if request not in self.cancelled):
            self.settled.clear()
            await self.settled.wait()


def serve(engine: FakeEngine, pool: ModelOptions, script: list[Step]) -> Caller:
    async def scenario() -> Caller:
        model = Model("m", engine, pool, asyncio.get_running_loop())
        model.pool.start()
        try:
            caller = Caller(model)
            async with asyncio.timeout(30):
                await caller.play(script)
            return caller
        finally:
            model.pool.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(scenario())


def check_replies(caller: Caller) -> None:
    for send, request in caller.sent:
        if request in caller.cancelled:
            assert len(request.replies) == caller.cancelled[request]
            continue
        (reply,) = request.replies
        if send.deadline == PAST:
            assert isinstance(reply, ExpiredError)
        elif send.has_bad_row and request.values.size:
            assert isinstance(reply, EngineFailureError)
        else:
            assert isinstance(reply, np.ndarray)
            np.testing.assert_array_equal(reply, expected(request.values), strict=True)


def check_runs(engine: FakeEngine, caller: Caller) -> None:
    """What ran: whole requests in the order of arrival, none that was expired, in batches of at most the bound."""
    assert engine.overlaps == 0
    arrivals = {int(request.values.flat[0]): request for _, request in caller.sent if request.values.size}
    for run in engine.runs:
        requests = [arrivals[value] for value in run.values if value in arrivals]
        assert run.rows <= engine.max_batch_size
        assert run.values == [value for request in requests for value in request.values.ravel().tolist()]
        assert run.values == sorted(run.values, key=abs)
        assert not any(request.deadline == PAST for request in requests)


def check(engine: FakeEngine, caller: Caller) -> None:
    check_replies(caller)
    check_runs(engine, caller)
    assert caller.refused == 0 or caller.model.options.max_queue_size < 1000
    paths = {run.on_thread for run in engine.runs}
    event(f"runs on {'threads and loop' if len(paths) > 1 else 'threads' if True in paths else 'nothing'}")


@given(scripts, pools, st.integers(1, 8))
@settings(UNHURRIED, max_examples=60)
def test_every_request_gets_its_own_rows(script: list[Step], pool: ModelOptions, max_batch_size: int) -> None:
    engine = FakeEngine(max_batch_size=max_batch_size, on_run=refuse_negative_rows)
    check(engine, serve(engine, pool, script))


@given(scripts, pools, st.lists(st.sampled_from([0, 0, 0, 0, 2_000_000]), min_size=1))
@settings(UNHURRIED, max_examples=60)
def test_every_request_gets_its_own_rows_while_runs_move_between_loop_and_threads(
    script: list[Step], pool: ModelOptions, run_ns: list[int]
) -> None:
    times = iter(run_ns * 1000)
    engine = FakeEngine(on_run=refuse_negative_rows, run_ns=lambda: next(times))
    check(engine, serve(engine, pool, script))


@given(scripts, pools, st.sampled_from([1, 2, 3]))
@settings(UNHURRIED, max_examples=60)
def test_every_request_gets_its_own_rows_from_an_engine_that_keeps_its_output_buffers(
    script: list[Step], pool: ModelOptions, width: int
) -> None:
    same_width = [
        Send(step.rows, width, step.deadline, step.has_bad_row) if isinstance(step, Send) else step for step in script
    ]
    engine = FakeEngine(**fixed(width), on_run=refuse_negative_rows)
    caller = serve(engine, pool, same_width)
    del engine.runs[: len(engine.contexts)]  # The runs on zeros that warm the contexts up.
    check(engine, caller)

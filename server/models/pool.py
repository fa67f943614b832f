"""Who runs one model's batches: the pool's threads, or the event loop itself when a run is shorter than a hop.

A batch holds a context from the moment it is filled until the event loop has read the outputs. With a few more contexts
(`buffers`) than threads, a thread takes up the next batch while the loop still encodes the last one, and a loop that
falls behind stops the threads instead of piling up results.

The loop and a thread meet twice a batch: under `_lock`, when the thread takes it, and in `_hand_back`. Waking a
thread and being woken by it costs more than a run of a very small model. Requests of the shapes that ran last are
therefore run on the loop, all that came in one turn of it together and on one context, for as long as such runs are
short on average. They never see the batcher, unless the loop cannot run them after all. A delay that the user set makes
batches rare, and leaves them to the threads.
"""

import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from threading import Condition, Lock, Thread, get_ident
from time import monotonic, monotonic_ns

from yais.engines import Context
from yais.server.errors import EngineFailureError, QueueFullError
from yais.server.models.batching import Batch, Batcher
from yais.server.models.execution import Execution, execute
from yais.server.models.inline import OnRun, run_batches
from yais.server.models.request import Request

logger = logging.getLogger(__name__)

Job = tuple[Context, Batch[Request]]
OnBatch = Callable[[Sequence[Execution], Sequence[Request]], None]

# About what two hops between threads cost: shorter runs are quicker on the loop, and hold up nobody noticeably.
_SHORT_NS = 100_000
# A longer run counts as one of this length, so that a single one, which may be the machine's doing, decides nothing.
_LONG_NS = 4 * _SHORT_NS
# How long the loop runs batches before it looks after its connections again.
_TURN_NS = 10_000_000
# A caller who waits for each answer needs longer than this to ask again; many callers together leave no such pause.
_LULL_NS = 50_000
# The share of the latest run in the moving average.
_WEIGHT = 0.1


class Pool:
    """`threads` threads over `contexts`, and the loop unless it may not: where runs wait for a device, it would too.

    `on_batch(executions, expired)` is called on `loop` for each batch taken, and `on_run` instead for one that was run
    there and is answered.
    """

    def __init__(
        self,
        name: str,
        contexts: Sequence[Context],
        threads: int,
        batcher: Batcher[Request],
        on_batch: OnBatch,
        on_run: OnRun,
        loop: AbstractEventLoop,
        may_run_on_loop: bool = True,
    ) -> None:
        self._free = deque(contexts)
        self._batcher = batcher
        self._on_batch = on_batch
        self._on_run = on_run
        self._loop = loop
        self._may_run_on_loop = may_run_on_loop and not batcher.max_delay
        self._closed = False
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._average_of: Hashable = None
        self._average_ns = 0.0
        # The shapes whose runs are short, if any are.
        self._short: Hashable = None
        # What came in this turn of the loop to be run at its end, all of the same shapes.
        self._turn: deque[Request] = deque()
        self._turn_shapes: Hashable = None
        self._turn_ended_at = 0
        # Thread -> when the run began that it is in.
        self._running: dict[int, int] = {}
        # Daemons, because the exit on a second signal must not wait for a run of the engine.
        self._threads = [Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(threads)]

    @property
    def waiting(self) -> int:
        """How many requests no context has taken yet."""
        return self._batcher.waiting + len(self._turn)

    @property
    def oldest_run(self) -> int | None:
        """When the longest of the runs began that the threads are in; None when they are in none."""
        return min(list(self._running.values()), default=None)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def add(self, request: Request) -> None:
        """Queues `request`. Raises `QueueFullError` at the queue's bound."""
        turn, batcher = self._turn, self._batcher
        if batcher.waiting + len(turn) >= batcher.max_items:
            raise QueueFullError(batcher.max_items)
        now = request.queued = monotonic_ns()
        if not turn:
            self._turn_shapes = self._short
        if request.shapes != self._turn_shapes:
            self._leave_to_threads(request)
            return
        turn.append(request)
        if len(turn) == 1:
            self._begin_turn(now)

    def discard(self, request: Request) -> None:
        """Takes back a request, unless it has been taken already."""
        if request in self._turn:
            self._turn.remove(request)
            return
        with self._lock:
            self._batcher.discard(request)

    def close(self, patience: float | None = None) -> bool:
        """Ends the threads after what they are running; what else waits is left in the batcher.

        Waits for that, `patience` seconds at most; returns whether all threads have ended.
        """
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        until = None if patience is None else monotonic() + patience
        for thread in self._threads:
            thread.join(None if until is None else max(0, until - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _leave_to_threads(self, *requests: Request) -> None:
        with self._lock:
            for request in requests:
                self._batcher.add(request, request.queued)
                self._changed.notify()

    def _begin_turn(self, now: int) -> None:
        """After a lull the next request hardly comes in this turn as well, so the first is not kept waiting for it."""
        if now - self._turn_ended_at > _LULL_NS:
            self._end_turn()
        else:
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Runs what came in this turn on the loop, and leaves to the threads what they had better run after all."""
        context = self._borrow()
        if context is not None:
            self._run_turn(context, monotonic_ns() + _TURN_NS)
            self._give_back(context)
            self._turn_ended_at = monotonic_ns()
        if self._turn and context is not None and self._turn_shapes == self._short:
            self._loop.call_soon(self._end_turn)
        elif self._turn:
            self._leave_to_threads(*self._turn)
            self._turn.clear()

    def _run_turn(self, context: Context, until: int) -> None:
        turn, max_rows = self._turn, self._batcher.max_rows
        while turn and self._turn_shapes == self._short and monotonic_ns() < until:
            try:
                runs, run_ns, troubled = run_batches(context, turn, max_rows, until, _LONG_NS, self._on_run)
            except Exception as error:
                self._complain(error)
                continue
            if runs:
                self._average(self._turn_shapes, run_ns // runs)
            if troubled is not None:
                self._conclude(self._execute(context, troubled.items, monotonic_ns()), troubled.expired)

    def _work(self) -> None:
        while (job := self._wait()) is not None:
            context, batch = job
            began = self._running[get_ident()] = monotonic_ns()
            executions = self._execute(context, batch.items, began)
            del self._running[get_ident()]
            # A loop that did not wait for this run may be closed by now.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hand_back, context, executions, batch.expired)

    def _wait(self) -> Job | None:
        """Waits for a batch and a free context; None when the pool closes."""
        with self._lock:
            while not self._closed:
                batch = self._batcher.take(monotonic_ns()) if self._free else None
                if batch is not None:
                    return self._take_context(), batch
                self._changed.wait(self._patience())
        return None

    def _patience(self) -> float | None:
        """Seconds until waiting requests are due although no further one comes; None when nothing can become due."""
        due_at = self._batcher.due_at() if self._free else None
        return None if due_at is None else max(0, due_at - monotonic_ns()) / 1e9

    def _hand_back(self, context: Context, executions: Sequence[Execution], expired: Sequence[Request]) -> None:
        self._conclude(executions, expired)
        self._give_back(context)

    def _take_context(self) -> Context:
        """The one that the caches know best; each in turn where runs leave them cold, and may be on several GPUs."""
        return self._free.pop() if self._may_run_on_loop else self._free.popleft()

    def _borrow(self) -> Context | None:
        with self._lock:
            return self._free.pop() if self._free and not self._closed else None

    def _give_back(self, context: Context) -> None:
        with self._lock:
            self._free.append(context)
            if self._batcher:
                self._changed.notify()

    def _conclude(self, executions: Sequence[Execution], expired: Sequence[Request]) -> None:
        try:
            self._on_batch(executions, expired)
        except Exception as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "A batch could not be answered", "exception": error})

    def _execute(self, context: Context, requests: Sequence[Request], started: int) -> list[Execution]:
        """As `execute`, for a caller that must survive whatever happens in it."""
        if not requests:
            return []
        try:
            executions = execute(context, requests, started)
        except Exception:
            failed_ns = monotonic_ns() - started
            logger.exception("A batch of %d request(s) failed", len(requests))
            failure = EngineFailureError("The engine failed in an unexpected way; the server's log tells more")
            executions = [Execution(requests, failure, 0, started, 0, failed_ns)]
        if self._may_run_on_loop:
            for execution in executions:
                self._average(requests[0].shapes, execution.input_ns + execution.infer_ns)
        return executions

    def _average(self, shapes: Hashable, run_ns: int) -> None:
        """Takes a run into the average, which is of one set of shapes at a time."""
        run_ns = min(run_ns, _LONG_NS)
        if shapes == self._average_of:
            self._average_ns += _WEIGHT * (run_ns - self._average_ns)
        else:
            self._average_of, self._average_ns = shapes, run_ns
        self._short = shapes if self._average_ns <= _SHORT_NS else None

"""Who runs one model's batches: the pool's threads, or the event loop itself when a run is shorter than a hop.

A batch holds a context from the moment it is filled until the event loop has read the outputs. With a few more contexts
(`buffers`) than threads, a thread takes up the next batch while the loop still encodes the last one, and a loop that
falls behind stops the threads instead of piling up results.

The loop and a thread meet twice a batch: under `_lock`, when the thread takes it, and in `_hand_back`. Waking a
thread and being woken by it costs more than a run of a very small model. Requests of the shapes that ran last are
therefore run on the loop, all that came in one turn of it together, for as long as such runs are short on average.
"""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from threading import Condition, Lock, Thread
from time import monotonic, monotonic_ns

from yais.engines import Context
from yais.server.batching import Batch, Batcher
from yais.server.errors import EngineFailureError
from yais.server.execution import Execution, execute
from yais.server.request import Request

logger = logging.getLogger(__name__)

Job = tuple[Context, Batch[Request]]
OnBatch = Callable[[Sequence[Execution], Sequence[Request]], None]

# About what two hops between threads cost: shorter runs are quicker on the loop, and hold up nobody noticeably.
_SHORT_NS = 100_000
# The share of the latest run in the moving average.
_WEIGHT = 0.1


class Pool:
    """`threads` threads over `contexts`. `on_batch(executions, expired)` is called on `loop` for each batch taken."""

    def __init__(
        self,
        name: str,
        contexts: Sequence[Context],
        threads: int,
        batcher: Batcher[Request],
        on_batch: OnBatch,
        loop: AbstractEventLoop,
    ) -> None:
        self._free = list(contexts)
        self._batcher = batcher
        self._on_batch = on_batch
        self._loop = loop
        self._closed = False
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._average_of: Hashable = None
        self._average_ns = 0.0
        # The shapes whose runs are short, if any are; the loop runs requests of these.
        self._short: Hashable = None
        self._turn_is_due = False
        # Daemons, because the exit on a second signal must not wait for a run of the engine.
        self._threads = [Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def add(self, request: Request) -> None:
        """Queues `request`. Raises `QueueFullError` at the queue's bound."""
        request.queued = monotonic_ns()
        with self._lock:
            self._batcher.add(request, request.queued)
            if request.shapes != self._short:
                self._changed.notify()
                return
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._take_turn)

    def discard(self, request: Request) -> bool:
        """Takes back a request that has not been taken yet; False when it is too late."""
        with self._lock:
            return self._batcher.discard(request)

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

    def _take_turn(self) -> None:
        """Runs on the loop all that waits in the shapes that are short."""
        self._turn_is_due = False
        while (job := self._take_short()) is not None:
            context, batch = job
            self._conclude(context, self._execute(context, batch.items), batch.expired)

    def _take_short(self) -> Job | None:
        """The next batch for the loop; once there is none, the threads get what else waits."""
        with self._lock:
            if self._closed or not self._batcher:
                return None
            job = None if self._short is None else self._take(self._short)
            if job is None:
                self._changed.notify()
            return job

    def _work(self) -> None:
        while (job := self._wait()) is not None:
            context, batch = job
            executions = self._execute(context, batch.items)
            # A loop that did not wait for this run may be closed by now.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hand_back, context, executions, batch.expired)

    def _wait(self) -> Job | None:
        """Waits for a batch and a free context; None when the pool closes."""
        with self._lock:
            while not self._closed:
                if (job := self._take()) is not None:
                    return job
                self._changed.wait(self._patience())
        return None

    def _take(self, shapes: Hashable = None) -> Job | None:
        batch = self._batcher.take(monotonic_ns(), shapes) if self._free else None
        return None if batch is None else (self._free.pop(), batch)

    def _patience(self) -> float | None:
        """Seconds until waiting requests are due although no further one comes; None when nothing can become due."""
        due_at = self._batcher.due_at() if self._free else None
        return None if due_at is None else max(0, due_at - monotonic_ns()) / 1e9

    def _hand_back(self, context: Context, executions: Sequence[Execution], expired: Sequence[Request]) -> None:
        self._conclude(context, executions, expired)
        with self._lock:
            self._changed.notify()

    def _conclude(self, context: Context, executions: Sequence[Execution], expired: Sequence[Request]) -> None:
        try:
            self._on_batch(executions, expired)
        except Exception as error:
            self._loop.call_exception_handler({"message": "A batch could not be answered", "exception": error})
        self._free.append(context)

    def _execute(self, context: Context, requests: Sequence[Request]) -> list[Execution]:
        """As `execute`, for a caller that must survive whatever happens in it."""
        if not requests:
            return []
        started = monotonic_ns()
        try:
            executions = execute(context, requests)
        except Exception:
            failed_ns = monotonic_ns() - started
            logger.exception("A batch of %d request(s) failed", len(requests))
            failure = EngineFailureError("The engine failed in an unexpected way; the server's log tells more")
            executions = [Execution(requests, failure, 0, started, 0, failed_ns)]
        self._average(requests[0].shapes, sum([each.input_ns + each.infer_ns for each in executions]))
        return executions

    def _average(self, shapes: Hashable, run_ns: int) -> None:
        """Takes a run into the average, which is of one set of shapes at a time."""
        if shapes == self._average_of:
            self._average_ns += _WEIGHT * (run_ns - self._average_ns)
        else:
            self._average_of, self._average_ns = shapes, run_ns
        self._short = shapes if self._average_ns <= _SHORT_NS else None

"""Context pool of one model: threads run its batches, or the event loop itself where a run is shorter than a hop.

A batch holds a context from the moment it is filled until the event loop has read the outputs. With a few more contexts
(`buffers`) than threads, a thread takes up the next batch while the loop still encodes the last one, and a loop that
falls behind stops the threads instead of piling up results.

The loop and a thread meet twice a batch: under `_lock`, when the thread takes it, and in `_finish`. Waking a thread and
being woken by it costs more than a run of a very small model. Requests of the shapes that ran last are therefore run
inline, on the loop, all that came in one tick of it together and on one context, for as long as such runs are short on
average. They never see the batcher, unless the loop cannot run them after all. A delay that the user set makes batches
rare, and leaves them to the threads.
"""

import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from threading import Condition, Lock, Thread, get_ident
from time import monotonic, monotonic_ns

from yais.engines import Context
from yais.server.errors import EngineFailureError, ExpiredError, LostDeviceError, QueueFullError, ServiceError
from yais.server.metrics.recorder import InferenceRecorder
from yais.server.models.batching import Batch, Batcher
from yais.server.models.execution import Execution, answer, execute, refuse, run_inline
from yais.server.models.request import Request

logger = logging.getLogger(__name__)

Job = tuple[Context, Batch[Request]]

# About what two hops between threads cost: shorter runs are quicker on the loop, and hardly delay other connections.
_SHORT_NS = 100_000
# A longer run counts as one of this length, so that a single one, which may be the machine's doing, decides nothing.
_LONG_NS = 4 * _SHORT_NS
# How long the loop runs batches before it looks after its connections again.
_INLINE_NS = 10_000_000
# A caller who waits for each answer needs longer than this to ask again; many callers together leave no such pause.
_LULL_NS = 50_000
# The share of the latest run in the moving average.
_WEIGHT = 0.1


class Pool:
    """`threads` threads over `contexts`, and the loop unless it may not: where runs wait for a device, it would too.

    Requests are answered and refused on `loop`, and counted by `recorder`. `on_lost` is called there, with what was
    found, whenever the device of a context is gone.
    """

    def __init__(
        self,
        name: str,
        contexts: Sequence[Context],
        threads: int,
        batcher: Batcher[Request],
        recorder: InferenceRecorder,
        loop: AbstractEventLoop,
        may_run_on_loop: bool = True,
        on_lost: Callable[[LostDeviceError], None] = lambda error: None,
    ) -> None:
        self._free = deque(contexts)
        self._batcher = batcher
        self._record = recorder.record
        self._on_lost = on_lost
        self._loop = loop
        self._may_run_on_loop = may_run_on_loop and not batcher.max_delay
        self._closed = False
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._average_of: Hashable = None
        self._average_ns = 0.0
        # The shapes whose runs are short, if any are.
        self._short_shapes: Hashable = None
        # What came in this tick of the loop to be run at its end, all of the same shapes.
        self._inline: deque[Request] = deque()
        self._inline_shapes: Hashable = None
        self._inline_ended = 0
        # Thread -> when the run began that it is in.
        self._running: dict[int, int] = {}
        # Daemons, because the exit on a second signal must not wait for a run of the engine.
        self._threads = [Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(threads)]

    @property
    def waiting(self) -> int:
        """How many requests no context has taken yet."""
        return self._batcher.waiting + len(self._inline)

    @property
    def oldest_run(self) -> int | None:
        """When the longest of the runs began that the threads are in; None when they are in none."""
        # A copy in one step of the interpreter, since threads change the dict meanwhile.
        return min(list(self._running.values()), default=None)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def add(self, request: Request) -> None:
        """Queues `request`, which is answered or refused later. Raises `QueueFullError` at the queue's bound."""
        inline, batcher = self._inline, self._batcher
        # Without the lock: only the loop adds, so that by now there can only be fewer.
        if batcher.waiting + len(inline) >= batcher.max_items:
            raise QueueFullError(batcher.max_items)
        now = request.queued = monotonic_ns()
        if not inline:
            self._inline_shapes = self._short_shapes
        if request.shapes != self._inline_shapes:
            self._enqueue(request)
            return
        inline.append(request)
        if len(inline) > 1:
            return
        # After a lull the next request hardly comes in this tick as well, so the first is not kept waiting for it.
        if now - self._inline_ended > _LULL_NS:
            self._run_inline()
        else:
            self._loop.call_soon(self._run_inline)

    def discard(self, request: Request) -> None:
        """Takes back a request whose caller has gone, unless it has been taken already."""
        if request in self._inline:
            self._inline.remove(request)
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
        # One deadline for all threads together.
        until = None if patience is None else monotonic() + patience
        for thread in self._threads:
            thread.join(None if until is None else max(0, until - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _enqueue(self, *requests: Request) -> None:
        """Leaves `requests` to the threads."""
        with self._lock:
            for request in requests:
                self._batcher.add(request, request.queued)
                self._changed.notify()

    def _run_inline(self) -> None:
        """Runs what came in this tick on the loop, and leaves to the threads what is not short after all."""
        with self._lock:
            context = self._free.pop() if self._free and not self._closed else None
        if context is not None:
            self._run_inline_batches(context, monotonic_ns() + _INLINE_NS)
            self._release(context)
            self._inline_ended = monotonic_ns()
        if self._inline and context is not None and self._inline_shapes == self._short_shapes:
            self._loop.call_soon(self._run_inline)
        elif self._inline:
            self._enqueue(*self._inline)
            self._inline.clear()

    def _run_inline_batches(self, context: Context, until: int) -> None:
        # Any run may change what counts as short, and an answer may bring the next request with it.
        inline, max_rows = self._inline, self._batcher.max_rows
        while inline and self._inline_shapes == self._short_shapes and monotonic_ns() < until:
            try:
                runs, run_ns, troubled = run_inline(context, inline, max_rows, until, _LONG_NS, self._record)
            except Exception as error:
                self._report(error)
                continue
            if runs:
                self._update_average(self._inline_shapes, run_ns // runs)
            if troubled is not None:
                self._finish(self._execute(context, troubled.items, monotonic_ns()), troubled.expired)

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            context, batch = job
            # What the watchdog looks at: a run that hangs never comes to the line that deletes this.
            began = self._running[get_ident()] = monotonic_ns()
            executions = self._execute(context, batch.items, began)
            del self._running[get_ident()]
            # A loop that did not wait for this run may be closed by now.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._finish, executions, batch.expired, context)

    def _next_job(self) -> Job | None:
        """Waits for a batch and a free context; None when the pool closes."""
        with self._lock:
            while not self._closed:
                timeout = None
                if self._free:
                    batch = self._batcher.take(monotonic_ns())
                    if batch is not None:
                        # The caches know the latest best; where runs leave them cold, and may be on several GPUs, each
                        # context has its turn.
                        return self._free.pop() if self._may_run_on_loop else self._free.popleft(), batch
                    # Waiting requests become due although no further one comes.
                    due_at = self._batcher.due_at()
                    timeout = None if due_at is None else max(0, due_at - monotonic_ns()) / 1e9
                self._changed.wait(timeout)
        return None

    def _finish(
        self, executions: Sequence[Execution], expired: Sequence[Request], context: Context | None = None
    ) -> None:
        """Answers or refuses all requests of a batch; then `context`, if given, is free again."""
        try:
            for requests, outcome, rows, started, input_ns, infer_ns, copied_ns, padding in executions:
                if isinstance(outcome, LostDeviceError):
                    self._on_lost(outcome)
                if isinstance(outcome, ServiceError):
                    refuse(requests, outcome)
                else:
                    began = monotonic_ns()
                    answered = answer(requests, outcome)
                    now = monotonic_ns()
                    self._record(rows, started, input_ns, infer_ns, copied_ns + now - began, now, answered, padding)
            if expired:
                refuse(expired, ExpiredError())
        except Exception as error:
            self._report(error)
        # Not before the answers are made: they are read from the context's buffers.
        if context is not None:
            self._release(context)

    def _release(self, context: Context) -> None:
        with self._lock:
            self._free.append(context)
            if self._batcher:
                self._changed.notify()

    def _report(self, error: Exception) -> None:
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
            failure = EngineFailureError("The engine failed unexpectedly; see the server's log")
            executions = [Execution(requests, failure, rows=0, started=started, infer_ns=failed_ns)]
        if self._may_run_on_loop:
            for execution in executions:
                self._update_average(requests[0].shapes, execution.input_ns + execution.infer_ns)
        return executions

    def _update_average(self, shapes: Hashable, run_ns: int) -> None:
        """Takes a run into the average, which is of one set of shapes at a time."""
        run_ns = min(run_ns, _LONG_NS)
        if shapes == self._average_of:
            self._average_ns += _WEIGHT * (run_ns - self._average_ns)
        else:
            self._average_of, self._average_ns = shapes, run_ns
        self._short_shapes = shapes if self._average_ns <= _SHORT_NS else None

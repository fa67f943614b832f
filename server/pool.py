"""The threads that run one model's batches, each on a context taken from a free list.

A batch holds its context from the moment it is filled until the event loop has read the outputs. With a few more
contexts (`buffers`) than threads, a thread takes up the next batch while the loop still encodes the last one, and a
loop that falls behind stops the threads instead of piling up results.

The loop and a thread meet twice a batch: under `_changed`, when the thread takes it, and in `_hand_back`.
"""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from time import monotonic_ns

from yais.engines import Context
from yais.server.batching import Batch, Batcher
from yais.server.errors import EngineFailureError
from yais.server.execution import Execution, execute
from yais.server.request import Request

logger = logging.getLogger(__name__)

OnBatch = Callable[[Sequence[Execution], Sequence[Request]], None]


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
        self._changed = Condition()
        # Daemons, because the exit on a second signal must not wait for a run of the engine.
        self._threads = [Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def add(self, request: Request) -> None:
        """Queues `request`. Raises `QueueFullError` at the queue's bound."""
        with self._changed:
            request.queued = monotonic_ns()
            self._batcher.add(request, request.queued)
            self._changed.notify()

    def discard(self, request: Request) -> bool:
        """Takes back a request that no thread has taken yet; False when it is too late."""
        with self._changed:
            return self._batcher.discard(request)

    @property
    def waiting(self) -> int:
        return len(self._batcher)

    def close(self) -> None:
        """Lets the threads finish what they run, and ends them. What still waits is left in the batcher."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            context, batch = job
            executions = _execute(context, batch.items)
            self._loop.call_soon_threadsafe(self._hand_back, context, executions, batch.expired)

    def _next(self) -> tuple[Context, Batch[Request]] | None:
        """Waits for a batch and a free context; None when the pool closes."""
        with self._changed:
            while not self._closed:
                if self._free and (batch := self._batcher.take(monotonic_ns())):
                    return self._free.pop(), batch
                self._changed.wait(self._patience())
        return None

    def _patience(self) -> float | None:
        """Seconds until waiting requests are due although no further one came; None when nothing can become due."""
        due_at = self._batcher.due_at() if self._free else None
        return None if due_at is None else max(0, due_at - monotonic_ns()) / 1e9

    def _hand_back(self, context: Context, executions: Sequence[Execution], expired: Sequence[Request]) -> None:
        try:
            self._on_batch(executions, expired)
        finally:
            with self._changed:
                self._free.append(context)
                self._changed.notify()


def _execute(context: Context, requests: Sequence[Request]) -> list[Execution]:
    """As `execute`, for a thread that must survive whatever happens in it."""
    if not requests:
        return []
    try:
        return execute(context, requests)
    except Exception:
        logger.exception("A batch of %d requests failed", len(requests))
        failure = EngineFailureError("The engine failed in an unexpected way; the server's log tells more")
        return [Execution(requests, failure, 0, monotonic_ns())]

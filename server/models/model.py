"""One model in service: its engine, its queue, its threads and its figures."""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic_ns

from yais.engines import Context, DeviceLostError, Engine, EngineError
from yais.server.config import Config
from yais.server.errors import ExpiredError, LostDeviceError, ServiceError
from yais.server.metrics.recorder import Recorder
from yais.server.models.batching import Batcher
from yais.server.models.execution import Execution, Outputs, answer
from yais.server.models.pool import Pool
from yais.server.models.request import Request
from yais.server.models.signature import Signature

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is served.

    `contexts`: runs at once. `buffers`: batches between being taken and being answered. `max_queue_delay`: nanoseconds
    that a request may wait for company although a context is free. `max_queue_size`: requests that may wait.
    """

    contexts: int
    buffers: int
    max_queue_delay: int
    max_queue_size: int

    @classmethod
    def of(cls, config: Config) -> "ModelOptions":
        """What `config` says; it is the same for all models."""
        delay = int(config.max_queue_delay * 1e9)
        return cls(config.contexts, config.buffers_per_model, delay, config.max_queue_size)


class Model:
    """Runs requests in batches; everything but the engine's runs happens on the event loop.

    `on_lost` is called with what was found whenever the engine's device is gone.
    """

    version = "1"

    def __init__(
        self,
        name: str,
        engine: Engine,
        options: ModelOptions,
        loop: AbstractEventLoop,
        on_lost: Callable[[LostDeviceError], None] = lambda error: None,
    ) -> None:
        self.name = name
        self.engine = engine
        self.options = options
        self.signature = Signature(name, engine)
        self.recorder = Recorder(name, self.version)
        self._on_lost = on_lost
        batcher: Batcher[Request] = Batcher(
            max(1, engine.max_batch_size), options.max_queue_size, options.max_queue_delay
        )
        contexts = [warmed_up(engine.create_context(), engine) for _ in range(options.buffers)]
        may_run_on_loop = engine.device == "cpu"
        self._pool = Pool(
            name, contexts, options.contexts, batcher, self._finish, self.recorder.note, loop, may_run_on_loop
        )

    @property
    def waiting(self) -> int:
        """How many requests no context has taken yet."""
        return self._pool.waiting

    @property
    def oldest_run(self) -> int | None:
        """When the longest of the runs began that go on in threads; None when none does."""
        return self._pool.oldest_run

    def start(self) -> None:
        self._pool.start()

    def submit(self, request: Request) -> None:
        """Queues `request`, which is answered or refused later. Raises `QueueFullError`."""
        self._pool.add(request)

    def cancel(self, request: Request) -> None:
        """Nobody wants `request` any more: it is not run, unless it already is."""
        self._pool.discard(request)

    def close(self, patience: float | None = None) -> bool:
        """Ends the threads after what they are running; whether they did within `patience` seconds."""
        return self._pool.close(patience)

    def _finish(self, executions: Sequence[Execution], expired: Sequence[Request]) -> None:
        for execution in executions:
            if isinstance(execution.outcome, LostDeviceError):
                self._on_lost(execution.outcome)
            if isinstance(execution.outcome, ServiceError):
                self._refuse(execution.requests, execution.outcome)
            else:
                self._answer(execution, execution.outcome)
        if expired:
            self._refuse(expired, ExpiredError())

    def _refuse(self, requests: Sequence[Request], error: ServiceError) -> None:
        for request in requests:
            if request.is_wanted:
                request.refuse(error)

    def _answer(self, execution: Execution, outputs: Outputs) -> None:
        began = monotonic_ns()
        answered = answer(execution.requests, outputs)
        now = monotonic_ns()
        self.recorder.succeed(execution, answered, now - began, now)


def warmed_up(context: Context, engine: Engine) -> Context:
    """`context` after a run on zeros, so that the first request does not pay for what engines put off until then.

    A model with free dimensions or strings is left as it is: nobody knows what it would make of a guess. Raises
    `DeviceLostError`.
    """
    if all(spec.is_fixed and not spec.dtype.hasobject for spec in engine.inputs):
        try:
            context.fit(tuple(spec.shape for spec in engine.inputs))
            context.execute(1)
        except DeviceLostError:
            raise
        except EngineError as error:
            logger.warning("A run on zeros failed: %s", error)
    return context

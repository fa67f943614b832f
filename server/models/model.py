"""Model in service: its engine, its signature, its context pool and its statistics."""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass

from yais.engines import Context, DeviceLostError, Engine, EngineError
from yais.server.config import ModelSettings
from yais.server.errors import LostDeviceError
from yais.server.metrics.recorder import InferenceRecorder
from yais.server.models.batching import Batcher
from yais.server.models.pool import Pool
from yais.server.models.request import Request
from yais.server.models.signature import Signature

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is served.

    `contexts`: runs at once. `buffers`: batches between being taken and being answered. `max_queue_delay`: nanoseconds
    that a request may wait for a larger batch while a context is idle. `max_queue_size`: requests that may wait.
    """

    contexts: int
    buffers: int
    max_queue_delay: int
    max_queue_size: int

    @classmethod
    def of(cls, settings: ModelSettings) -> "ModelOptions":
        return cls(
            contexts=settings.contexts,
            buffers=settings.buffers,
            max_queue_delay=int(settings.max_queue_delay * 1e9),
            max_queue_size=settings.max_queue_size,
        )


class Model:
    """An engine under the name `name`, whose `pool` runs requests in batches.

    Everything but the engine's runs happens on the event loop. `on_lost` is called with what was found whenever the
    engine's device is gone.
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
        self.recorder = InferenceRecorder(name, self.version)
        batcher: Batcher[Request] = Batcher(
            max(1, engine.max_batch_size), options.max_queue_size, options.max_queue_delay
        )
        self.pool = Pool(
            name,
            contexts=[warm_up(engine.create_context(), engine) for _ in range(options.buffers)],
            threads=options.contexts,
            batcher=batcher,
            recorder=self.recorder,
            loop=loop,
            # On a GPU the loop would wait for the device.
            may_run_on_loop=engine.device == "cpu",
            on_lost=on_lost,
        )


def warm_up(context: Context, engine: Engine) -> Context:
    """Runs zeros on `context`, so that the first request does not pay for what engines put off until then; returns it.

    Raises `DeviceLostError`.
    """
    # A model with free dimensions or strings is left as it is: a guess might be of a shape that no request has.
    if all(spec.is_fixed and not spec.dtype.hasobject for spec in engine.inputs):
        try:
            context.fit(tuple(spec.shape for spec in engine.inputs))
            context.execute(1)
        # No further run can succeed, while a model that merely refuses zeros may serve what requests bring.
        except DeviceLostError:
            raise
        except EngineError as error:
            logger.warning("A run on zeros failed: %s", error)
    return context

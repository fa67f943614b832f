"""Opening of a model's engine: with batches only where they are known to leave its answers as they are."""

import logging
from dataclasses import replace

from yais.engines import Engine, EngineOptions, open_engine
from yais.server.config import EngineSource
from yais.server.models.row_independence import find_dependence

logger = logging.getLogger(__name__)


def open_batchable(source: EngineSource, options: EngineOptions) -> Engine:
    """The engine of `source`, opened without batches unless it declares them, they are set for it, or a probe allows.

    Clients see the same shapes either way. Logs what was decided, and why. Raises `EngineError`.
    """
    engine = open_engine(source.path, options)
    size = engine.max_batch_size
    if size < 2:
        if options.max_batch_size in (0, 1):
            reason = f"max-batch-size is {options.max_batch_size}"
        else:
            reason = "its file says so" if engine.declares_batch else "it has no batch dimension"
        logger.info("Model '%s' is not batched: %s", source.name, reason)
        return engine
    if engine.declares_batch:
        logger.info("Model '%s' is run in batches of up to %d rows: its file declares them", source.name, size)
        return engine
    if source.max_batch_size is not None:
        logger.info("Model '%s' is run in batches of up to %d rows, as is set for it", source.name, size)
        return engine
    dependence = find_dependence(engine)
    if dependence is None:
        logger.info(
            "Model '%s' is run in batches of up to %d rows: random rows gave the same together as alone",
            source.name,
            size,
        )
        return engine
    logger.warning(
        "Model '%s' is not batched, since its file declares no batches and %s; if its rows are independent, "
        "set max-batch-size for this model",
        source.name,
        dependence,
    )
    # Its memory first: a GPU may not have enough for both.
    engine.close()
    del engine
    return open_engine(source.path, replace(options, max_batch_size=0))

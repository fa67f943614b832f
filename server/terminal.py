"""Terminal output of a server: its log, and its banner once it serves."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from yais import __version__
from yais.server.models.model import Model

if TYPE_CHECKING:
    from yais.server.server import Server


def log_to_stderr(level: str | int, process: str = "") -> None:
    """`process` stands before the names of loggers, where several processes write to one log."""
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s {process}%(name)s: %(message)s")


def banner(server: "Server") -> str:
    """What is served, where, on which device, with which batch and contexts, and what to try next."""
    return "\n".join(_lines(server))


def summarise(model: Model) -> str:
    size = model.engine.max_batch_size
    batch = f"batches of up to {size}" if size else "no batching"
    contexts = _counted(model.options.contexts, "context")
    return f"{model.engine.platform} on {model.engine.device}, {batch}, {contexts}, " + _counted(
        model.options.buffers, "buffer"
    )


def _lines(server: "Server") -> Iterator[str]:
    host, workers = server.config.address, server.config.workers
    yield f"YAIS {__version__} is serving"
    yield f"  gRPC      {host}:{server.port}"
    yield f"  metrics   http://{host}:{server.metrics_port}/metrics"
    if workers > 1:
        yield f"  workers   {workers}, each with all that follows"
    for name, text in server.summaries.items():
        yield f"  model     {name}: {text}"
    first = next(iter(server.summaries))
    yield "Try"
    yield f"  client-sync --port {server.port} --model {first} --count 10"
    yield f"  siege --port {server.port} --model {first} --rate 20 --duration 10"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

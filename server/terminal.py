"""Terminal output of a server: its log, and its banner once it serves."""

import logging
import shlex
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
    host, workers = server.config.address, server.config.workers
    lines = [
        f"YAIS {__version__} is serving",
        f"  gRPC      {host}:{server.port}",
        f"  metrics   http://{host}:{server.metrics_port}/metrics",
    ]
    # Contexts and buffers are those of one worker.
    if workers > 1:
        lines.append(f"  workers   {workers}, each with all that follows")
    lines += [f"  model     {name}: {text}" for name, text in server.models.items()]
    first = shlex.quote(next(iter(server.models)))
    lines += [
        "Try",
        f"  client-sync --port {server.port} --model {first} --count 10",
        f"  siege --port {server.port} --model {first} --rate 20 --duration 10",
    ]
    return "\n".join(lines)


def summarise(model: Model) -> str:
    size = model.engine.max_batch_size
    batch = f"batches of up to {size}" if size else "no batching"
    contexts, buffers = _counted(model.options.contexts, "context"), _counted(model.options.buffers, "buffer")
    return f"{model.engine.platform} on {model.engine.device}, {batch}, {contexts}, {buffers}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

"""Banner of a server, which it prints once it serves."""

import shlex
from typing import TYPE_CHECKING

from yais import __version__
from yais.server.models.model import Model

if TYPE_CHECKING:
    from yais.server.server import Server


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
        lines.append(f"  workers   {workers}, each serving the models below")
    lines += [f"  model     {name}: {text}" for name, text in server.models.items()]
    first = shlex.quote(next(iter(server.models)))
    lines += [
        "Try",
        f"  client-sync --port {server.port} --model {first} --count 10",
        f"  siege --port {server.port} --model {first} --rate 20 --duration 10s --max-lag 50ms",
    ]
    return "\n".join(lines)


def summarise(model: Model) -> str:
    size = model.engine.max_batch_size
    batch = f"batches of up to {size}" if size else "no batching"
    contexts, buffers = counted(model.options.contexts, "context"), counted(model.options.buffers, "buffer")
    return f"{model.engine.platform} on {model.engine.device}, {batch}, {contexts}, {buffers}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """As in "1 context" or "2 contexts"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"

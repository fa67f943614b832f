"""What a server says of itself once it serves."""

from collections.abc import Iterator
from importlib.metadata import version

from yais.server.model import Model
from yais.server.server import Server


def banner(server: Server) -> str:
    """What is served, where, on which device, with which batch and contexts, and what to try next."""
    return "\n".join(_lines(server))


def _lines(server: Server) -> Iterator[str]:
    host = server.config.address
    yield f"YAIS {version('yais')} is serving"
    yield f"  gRPC      {host}:{server.port}"
    yield f"  metrics   http://{host}:{server.metrics_port}/metrics"
    for model in server.models:
        yield f"  model     {_summary(model)}"
    first = next(iter(server.models))
    yield "Try"
    yield f"  client-sync --port {server.port} --model {first.name} --count 10"
    yield f"  siege --port {server.port} --model {first.name} --rate 20 --duration 10"


def _summary(model: Model) -> str:
    size = model.engine.max_batch_size
    batch = f"batches of up to {size}" if size else "no batching"
    contexts = _counted(model.options.contexts, "context")
    return f"{model.name}: {model.engine.platform} on {model.engine.device}, {batch}, {contexts}, " + _counted(
        model.options.buffers, "buffer"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

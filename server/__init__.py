"""The service: command line, life cycle, gRPC services, queue, batches, context pool and metrics.

`serve` is what `inference-grpc` does; `Server` is for a program that does other things as well:

    from yais.server import Config, Server, serve

    serve(Config(engines=["model.onnx"]))

    async with Server(Config(engines=["model.onnx"], port=0, metrics=0)) as server:
        print(server.port)

`yais.server.testing` has one for tests that know no asyncio.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yais.engines import EngineError
    from yais.server.config import Config, ConfigError, EngineSource
    from yais.server.exit_codes import ExitCode
    from yais.server.listening import StartError
    from yais.server.server import Server
    from yais.server.serving import serve

__all__ = ["Config", "ConfigError", "EngineError", "EngineSource", "ExitCode", "Server", "StartError", "serve"]

_HOMES = {
    "Config": "yais.server.config",
    "ConfigError": "yais.server.config",
    "EngineError": "yais.engines",
    "EngineSource": "yais.server.config",
    "ExitCode": "yais.server.exit_codes",
    "Server": "yais.server.server",
    "StartError": "yais.server.listening",
    "serve": "yais.server.serving",
}


def __getattr__(name: str) -> object:
    """Imports what is asked for, so that a module of this package can be had without all of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

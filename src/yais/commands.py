"""Commands: the console scripts, which Ctrl-C ends quietly from their first moment on."""

import signal
from importlib import import_module


def inference_grpc() -> None:
    _run("yais.server.cli")


def engine_build() -> None:
    _run("yais.engines.builder.cli")


def engine_inspect() -> None:
    _run("yais.engines.inspection.cli")


def client_sync() -> None:
    _run("yais.clients.sync_cli")


def client_async() -> None:
    _run("yais.clients.async_cli")


def siege() -> None:
    _run("yais.clients.siege.cli")


def _run(module: str) -> None:
    """Calls the module's `main`. Its imports take a while, in which there is nothing to clean up: SIGINT just kills."""
    # Where the signal is ignored, as below nohup, it stays so.
    is_handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_handled:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = import_module(module).main
    if is_handled:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()

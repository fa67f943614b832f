"""State log: one line for each change in a server's life, with what an operator asks first as fields."""

import logging
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import psutil

from yais.engines import EngineOptions
from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.models.model import Model
from yais.server.terminal import counted, summarise
from yais.version import version_text

if TYPE_CHECKING:
    from yais.server.server import Server

logger = logging.getLogger(__name__)

_MIB = 2**20


class LoadMeter:
    """Time and memory that a model takes to load, from when this is made."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._started, self._memory = monotonic(), self._process.memory_info().rss

    def log(self, model: Model, path: Path, options: EngineOptions) -> None:
        """Logs what was loaded, and with how many threads and cores it is going to run."""
        seconds = monotonic() - self._started
        # An allocator may have given pages back meanwhile.
        mib = max(0, self._process.memory_info().rss - self._memory) // _MIB
        text = summarise(model)
        fields = {"model": model.name, "path": str(path), "seconds": round(seconds, 3), "memory_mib": mib}
        if model.engine.device == "cpu":
            threads, assumption = _threads(options)
            text += f", {counted(threads, 'thread')} per run{assumption}"
            fields["threads"] = threads
        logger.info("Loaded '%s' from '%s' in %.1f s, %d MiB: %s", model.name, path, seconds, mib, text, extra=fields)


def _threads(options: EngineOptions) -> tuple[int, str]:
    """The CPU threads of one run, and, where they were not set, what they are derived from."""
    if options.threads is not None:
        return options.threads, ""
    from yais.engines.onnxruntime.session import threads_per_context, usable_cores

    cores, runs = usable_cores(), options.runs or options.contexts
    return threads_per_context(runs, cores), f" ({counted(cores, 'core')} for {counted(runs, 'run')} at once)"


def log_starting(config: Config) -> None:
    logger.info(
        "Starting YAIS %s: %s, %s, transport %s",
        version_text(),
        counted(len(config.engines), "engine"),
        counted(config.workers, "process", "processes"),
        config.transport,
        extra={"version": version_text(), "workers": config.workers, "transport": config.transport},
    )


def log_ready(server: "Server") -> None:
    host = server.config.address
    logger.info(
        "Ready: gRPC on %s:%d, metrics on http://%s:%d/metrics",
        host,
        server.port,
        host,
        server.metrics_port,
        extra={"port": server.port, "metrics_port": server.metrics_port},
    )


def log_drained(began: float) -> None:
    """`began`: the moment of the monotonic clock, in seconds, at which the drain did."""
    seconds = monotonic() - began
    logger.info("Drained in %.1f s", seconds, extra={"seconds": round(seconds, 3)})


def log_stopped(code: ExitCode) -> None:
    logger.info("Stopped: exit code %d (%s)", code, code.name.lower().replace("_", " "), extra={"exit_code": int(code)})

"""`inference-grpc`: the command line of the server."""

import logging
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn

import click

from yais.engines import EngineError
from yais.server.bounds import BOUNDS
from yais.server.config import Config, ConfigError, EngineSource
from yais.server.engine_argument import EngineArgument
from yais.server.exit_codes import ExitCode
from yais.server.listening import StartError
from yais.server.log import LogFormat, LogSettings, current_settings, log_to_stderr
from yais.server.options import ByteSize, Duration, IntegerList, read_toml
from yais.server.server import Server
from yais.server.serving import serve
from yais.server.setting_sources import SettingsCommand, name_sources, settings_as_toml, unknown_variables
from yais.server.terminal import banner
from yais.version import version_option

# Those of the library; click calls the factories when it needs what they make.
_DEFAULTS: dict[str, Any] = {
    each.name: each.default if each.default_factory is MISSING else each.default_factory for each in fields(Config)
}

logger = logging.getLogger("yais.server")


def _bounded(name: str) -> click.IntRange:
    return click.IntRange(*BOUNDS[name])


@click.command(
    "inference-grpc",
    cls=SettingsCommand,
    context_settings={"auto_envvar_prefix": "YAIS", "show_default": True, "max_content_width": 100},
    epilog="""\b
Examples:
  engine-build efficientnet-lite0 -o efficientnet-lite0.onnx
  inference-grpc --engine efficientnet-lite0.onnx
  inference-grpc --engine a=first.onnx --engine b=second.onnx,max-batch-size=0 --contexts 2
  YAIS_PORT=8001 inference-grpc --config yais.toml
""",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    callback=read_toml,
    is_eager=True,
    expose_value=False,
    help="A TOML file of settings named like these flags.",
)
@click.option(
    "--engine",
    type=EngineArgument(),
    multiple=True,
    required=True,
    help="An engine to serve; repeatable. Settings of its own: contexts, buffers, threads, max-batch-size,"
    " max-queue-delay, max-queue-size.",
)
@click.option("--host", default=_DEFAULTS["host"], help="The address to listen on.")
@click.option("--port", type=_bounded("port"), default=_DEFAULTS["port"], help="gRPC; 0 lets the system choose.")
@click.option(
    "--metrics",
    type=_bounded("metrics"),
    default=_DEFAULTS["metrics"],
    help="Metrics and health over HTTP; 0 lets the system choose.",
)
@click.option(
    "--workers",
    type=_bounded("workers"),
    default=_DEFAULTS["workers"],
    help="Processes that share the port. Each loads all engines; contexts, buffers and queues are per worker.",
)
@click.option(
    "--contexts",
    type=_bounded("contexts"),
    default=_DEFAULTS["contexts"],
    help="Batches that run at once, for each model.",
)
@click.option(
    "--buffers",
    type=_bounded("buffers"),
    help="Batches of each model that are being filled, run or read.  [default: contexts + 2]",
)
@click.option(
    "--threads",
    type=_bounded("threads"),
    help="CPU threads of one run.  [default: cores / contexts of all models of all workers]",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default=_DEFAULTS["device"],
    help="What ONNX files run on. On a GPU, TensorRT builds a plan at the first start, and keeps it.",
)
@click.option(
    "--devices",
    type=IntegerList(),
    default=",".join(map(str, _DEFAULTS["devices"])),
    help="The GPUs over which contexts are spread, such as 0,1.",
)
@click.option(
    "--workspaces",
    type=_bounded("workspaces"),
    help="Contexts of a GPU that compute at once; the others copy.  [default: 4, at most the contexts of one GPU]",
)
@click.option(
    "--cuda-graphs",
    type=click.BOOL,
    default=_DEFAULTS["cuda_graphs"],
    help="Whether runs on a GPU are recorded, for batches of 1, 2, 4 and so on, to which others are filled up.",
)
@click.option(
    "--plan-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for plans that are built of ONNX files.  [default: yais/plans in the user's cache folder]",
)
@click.option(
    "--run-timeout",
    type=Duration("s", maximum=BOUNDS["run_timeout"][1]),
    default=f"{_DEFAULTS['run_timeout']:g}s",
    help="How long a run on a GPU may take before the GPU counts as lost; seconds without a unit, 0 for any time.",
)
@click.option(
    "--max-batch-size",
    type=_bounded("max_batch_size"),
    help="The most rows in one run, 0 for no batching.  [default: what the engine declares, otherwise 8]",
)
@click.option(
    "--max-queue-delay",
    type=Duration("ms", maximum=BOUNDS["max_queue_delay"][1]),
    default=f"{1000 * _DEFAULTS['max_queue_delay']:g}ms",
    help="How long to hold a request for a larger batch while a context is idle; milliseconds without a unit.",
)
@click.option(
    "--max-queue-size",
    type=_bounded("max_queue_size"),
    default=_DEFAULTS["max_queue_size"],
    help="Requests of one model that may wait; more are refused.",
)
@click.option(
    "--max-message-size",
    type=ByteSize(*BOUNDS["max_message_size"]),
    default=f"{_DEFAULTS['max_message_size'] // 2**20}MiB",
    help="The largest request.",
)
@click.option(
    "--transport",
    type=click.Choice(["native", "grpcio"]),
    default=_DEFAULTS["transport"],
    show_default="native, where it was built",
    help="What speaks gRPC: YAIS's own transport, or grpcio's.",
)
@click.option(
    "--drain-timeout",
    type=Duration("s", maximum=BOUNDS["drain_timeout"][1]),
    default=f"{_DEFAULTS['drain_timeout']:g}s",
    help="How long accepted requests may take once a signal came; seconds without a unit.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    help="The lowest level that is logged, on stderr.",
)
@click.option(
    "--log-format",
    type=click.Choice(["default", "ISO8601", "json"], case_sensitive=False),
    default="default",
    help="Lines as Triton writes them, with either of its timestamps, or one JSON object per line and no banner.",
)
@click.option(
    "--print-config",
    is_flag=True,
    allow_from_autoenv=False,
    help="Print all settings as a file for --config, each with where it comes from, and exit.",
)
@version_option
@click.pass_context
def main(
    ctx: click.Context,
    /,
    engine: tuple[EngineSource, ...],
    log_level: str,
    log_format: LogFormat,
    print_config: bool,
    **settings: Any,
) -> None:
    """Serves models over gRPC, with their metrics beside it.

    Each flag is also an environment variable, YAIS_ and its name in capitals (blanks separate several engines),
    and a key of the file that --config names. The command line comes before the environment, that before the file, and
    the file before the defaults.

    Exit codes: 0 after a complete drain, 1 when accepted requests were dropped at the end of --drain-timeout, 2 for
    settings that cannot be, 3 when the server cannot start, 4 when one of several workers ended by itself and the
    others have drained, 5 when a GPU was lost. A second signal ends it at once, with 128 + its number.
    """
    log_to_stderr(LogSettings(log_level.upper(), log_format))
    # Whatever concerns one flag alone, click has checked by now.
    try:
        config = Config(engine, **settings)
    except ConfigError as error:
        raise click.UsageError(name_sources(str(error), ctx)) from error
    if print_config:
        click.echo(settings_as_toml(ctx))
        return
    if unknown := unknown_variables(ctx):
        logger.warning("Unknown variables in the environment: %s", ", ".join(unknown))
    _serve(config)


def _print_banner(server: Server) -> None:
    # In a container, what reads JSON from stderr is likely to get stdout as well.
    if current_settings().format != "json":
        click.echo(banner(server))


def _serve(config: Config) -> NoReturn:
    try:
        sys.exit(serve(config, _print_banner))
    except (EngineError, StartError) as error:
        logger.error("%s", error)
        sys.exit(ExitCode.FAILED_START)

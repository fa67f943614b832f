"""Commands `siege chaos`, attacks on a server with a report of its invariants, and `siege chaos proxy`, its proxy."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import uvloop

from yais.clients.channel import HostPort, parse_target
from yais.clients.client import Client
from yais.clients.command import ClientCommand
from yais.clients.durations import DurationOption
from yais.clients.inputs.names import did_you_mean
from yais.clients.inputs.workload import announce
from yais.clients.options import POSITIVE, CommonOptions, Parsed, Positive, common_options, handle_signals
from yais.clients.outputs import OutputFile, write_error, write_file
from yais.clients.protocol import InferenceError
from yais.clients.siege.chaos.attacks import all_attacks
from yais.clients.siege.chaos.canary import CanaryConfig, CanaryError, start_canary
from yais.clients.siege.chaos.invariants import MB, Limits, ScrapeError, Scraper
from yais.clients.siege.chaos.proxy import Proxy
from yais.clients.siege.chaos.runner import Attack, AttackResult, ChaosConfig, ChaosRunner
from yais.clients.siege.chaos.toxics import TOXICS, ConfiguredToxic, parse_toxic, usage
from yais.clients.siege.transports import has_native
from yais.proto.grpc_service_pb2 import ModelInferRequest

SCHEMA = "yais.siege.chaos/2"
# 3 means, as for a siege, that the clients could not do their part.
HELD, BROKE, UNPROVEN = 0, 1, 3
# Seconds.
_HOUR = 3600
# The name of a server whose counters have every request for its models, refused or not.
_COUNTS_REFUSALS = "yais"
# The findings that a line shows of an attack that did no harm.
_SHOWN = ("attack", "counted", "canary", "memory")
_WIDTH = 18
_USAGES = "\n".join(f"  {usage(name)}" for name in TOXICS)

EXAMPLES = """\b
Examples:
  siege chaos --metrics-port 50078
  siege chaos cancel-storm truncated --duration 5s --seed 1
  siege chaos churn --toxic latency:50ms:10ms:0.5 --toxic reset:1s:0.1
  siege chaos proxy --listen 6000 --to localhost:50051 --toxic slicer:10B:1ms
"""
PROXY_EXAMPLES = f"""\b
Toxics:
{_USAGES}

\b
Examples:
  siege chaos proxy --listen 6000 --to localhost:50051 --toxic latency:50ms:10ms
  siege chaos proxy --listen 6000 --to localhost:50051 --toxic bandwidth:20KB:down --toxic reset:2s:0.1
"""


def result_line(result: AttackResult) -> str:
    """`name  state  figures`, the figures being those of the invariants that made the state."""
    shown = [finding for finding in result.findings if finding.state == result.state]
    if result.state == "held":
        shown = [finding for finding in shown if finding.invariant in _SHOWN]
    figures = "; ".join(f"{finding.invariant}: {finding.text}" for finding in shown)
    return f"{result.attack:<{_WIDTH}} {result.state:<8} {figures}"


def summary_line(results: Sequence[AttackResult]) -> str:
    """How many attacks ended in which state, and the invariants that the server has no metrics for."""
    counts = {state: sum(result.state == state for result in results) for state in ("held", "broke", "unproven")}
    text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    findings = [finding for result in results for finding in result.findings]
    unknown = dict.fromkeys(finding.invariant for finding in findings if finding.state == "unknown")
    return text + (f"; the server has no metrics to check: {', '.join(unknown)}" if unknown else "")


def as_json(results: Sequence[AttackResult], run: dict[str, Any]) -> dict[str, Any]:
    """The report; `run` is what describes the run: target, server, model, seed, duration."""
    attacks = [
        {
            "attack": result.attack,
            "state": result.state,
            "findings": [asdict(finding) for finding in result.findings],
            "clients": {
                "actions": result.counters.actions,
                "disconnects": result.counters.disconnects,
                "answered": result.counters.answered,
                "refused": result.counters.refused,
                "unknown": result.counters.unknown,
                "unexpected": dict(result.counters.unexpected),
            },
            "canary": asdict(result.canary),
        }
        for result in results
    ]
    return {"schema": SCHEMA, **run, "exit_code": exit_code(results), "attacks": attacks}


def exit_code(results: Sequence[AttackResult]) -> int:
    states = {result.state for result in results}
    if "broke" in states:
        return BROKE
    return UNPROVEN if "unproven" in states else HELD


TOXIC = Parsed("toxic", parse_toxic)


@click.command(cls=ClientCommand, epilog=PROXY_EXAMPLES)
@click.option("--listen", type=click.IntRange(0, 65535), required=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--to",
    type=Parsed("host:port", lambda text: parse_target(text).server),
    required=True,
    help="The server to connect to.",
)
@click.option("--toxic", "toxics", type=TOXIC, multiple=True, help="Toxics, applied in this order (repeatable).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For everything random.")
def proxy(listen: int, to: HostPort, toxics: tuple[ConfiguredToxic, ...], seed: int) -> None:
    """Passes TCP connections on, through toxics, until Ctrl-C.

    TOXICITY (0 to 1, without a unit) is the share of the connections that a toxic applies to; up is from the client
    to the server. Durations have the units us, ms, s, m; sizes B, KB, MB, KiB, MiB.
    """
    passing = Proxy(to.host, to.port, toxics, str(seed))

    async def serve() -> None:
        over = asyncio.Event()
        async with passing.listening(port=listen) as port:
            click.echo(f"listening on 127.0.0.1:{port}")
            # Connections are not waited for: the first signal does what a second one would.
            with handle_signals(over.set, over.set):
                await over.wait()

    try:
        uvloop.run(serve())
    except OSError as error:
        # Only listening raises it: a server that cannot be reached is an RST for the client.
        raise click.BadParameter(f"{listen} cannot be listened on: {error}", param_hint="--listen") from error
    click.echo(f"passed on {passing.connections:,} connections")


class CommandWithProxy(ClientCommand):
    """A command whose first argument may name another one, `proxy`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        # Not a click.Group: every other argument is the name of an attack.
        if args[:1] == ["proxy"]:
            return proxy.make_context(f"{info_name} proxy", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        # The context is `proxy`'s where `make_context` found its name.
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


def _list_attacks(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        for attack in all_attacks().values():
            click.echo(f"{attack.name:<20} {attack.text}")
        context.exit()


def _parse_attacks(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> list[Attack]:
    attacks = all_attacks()
    unknown = [name for name in names if name not in attacks]
    if unknown:
        raise click.BadParameter(
            f"no attack is called {unknown[0]!r}{did_you_mean(unknown[0], attacks)}; siege chaos --list names them"
        )
    return [attacks[name] for name in names] or list(attacks.values())


@click.command(cls=CommandWithProxy, epilog=EXAMPLES)
@click.argument("attacks", nargs=-1, callback=_parse_attacks, metavar="[ATTACK]...")
@common_options
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_attacks, help="Names the attacks."
)
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Port of the server's metrics.")
@click.option("--pid", type=POSITIVE, help="Its process, if it is on this machine and the metrics have no process_*.")
@click.option(
    "--duration",
    type=DurationOption("s", _HOUR),
    default="5s",
    show_default=True,
    help="Time for each attack; seconds without a unit.",
)
@click.option("--load", type=click.IntRange(1, 10_000), default=32, show_default=True, help="The most in flight.")
@click.option("--canary-rate", type=Positive(1000), default=50.0, show_default=True, help="Requests a second.")
@click.option(
    "--canary-bound",
    type=DurationOption("ms", _HOUR * 1000),
    help="Bound of the canary's p99, milliseconds without a unit; by default 10 times that without an attack, at "
    "least 50ms.",
)
@click.option("--memory-bound", type=POSITIVE, default=160, show_default=True, help="MB by which the server may grow.")
@click.option(
    "--settle",
    type=DurationOption("s", _HOUR),
    default="5s",
    show_default=True,
    help="Time to recover; seconds without a unit.",
)
@click.option("--toxic", "toxics", type=TOXIC, multiple=True, help="Attacks go through a proxy with it (repeatable).")
@click.option("--report", "file", type=OutputFile(), help="Write the report as JSON.")
def main(
    common: CommonOptions,
    *,
    attacks: list[Attack],
    metrics_port: int | None,
    pid: int | None,
    canary_rate: float,
    file: Path | None,
    **options: Any,
) -> None:
    """Attacks a server with all of the attacks in turn, or those named, while a canary, which does no harm, calls it.

    After each, the invariants: a new client is answered; the server's counters have grown by what the clients know of;
    nothing is left in flight; files and memory are back; nothing wrong was answered with OK; and the canary
    lost nothing and waited no longer than its bound. Nobody else may call the server meanwhile. `siege chaos
    proxy --help` describes the proxy and its toxics.

    Exits with 0 when all invariants held, 1 when the server broke one, 2 for bad usage, 3 when the clients could not
    do their part, so that nothing is proven.
    """
    # One server is attacked, and its metrics read: a target of several is refused before anything is called.
    where = HostPort(common.host, common.port)
    request = announce(common).request()
    server = _server_name(common)
    config = _config(common, where, request, server, **options)
    canary = CanaryConfig.of(
        request.SerializeToString(),
        target=common.target,
        rate=canary_rate,
        timeout=common.timeout,
        transport=config.transport,
    )
    results = _run(config, Scraper(where.host, metrics_port, request.model_name, pid), canary, attacks)
    if file is not None:
        run = {"target": common.target, "server": server, "model": request.model_name}
        report = as_json(results, {**run, "seed": config.seed, "duration": config.duration})
        _write_report(report, file)
    sys.exit(exit_code(results))


def _write_report(report: dict[str, Any], path: Path) -> None:
    """Exits with 1 where it cannot be written: what was found is on the standard output."""
    try:
        write_file(path, lambda file: file.write(json.dumps(report, indent=2).encode()))
    except OSError as error:
        raise click.ClickException(write_error("--report", path, error)) from error


def _config(
    common: CommonOptions,
    where: HostPort,
    request: ModelInferRequest,
    server: str,
    *,
    duration: float,
    load: int,
    canary_bound: float | None,
    memory_bound: int,
    settle: float,
    toxics: tuple[ConfiguredToxic, ...],
) -> ChaosConfig:
    return ChaosConfig(
        host=where.host,
        port=where.port,
        transport="native" if has_native() else "grpcio",
        request=request,
        seed=common.seed,
        duration=duration,
        load=load,
        timeout=common.timeout,
        settle=settle,
        # A bound of 0 is replaced after the baseline, from the canary's p99 in it.
        limits=Limits(canary_bound or 0.0, memory_bound * MB, counts_refusals=server == _COUNTS_REFUSALS),
        toxics=toxics,
    )


def _run(config: ChaosConfig, scraper: Scraper, canary: CanaryConfig, attacks: list[Attack]) -> list[AttackResult]:
    async def run() -> list[AttackResult]:
        async with start_canary(canary) as process:
            runner = ChaosRunner(config, scraper, process)
            return await runner.run(attacks, lambda result: click.echo(result_line(result)))

    try:
        results = uvloop.run(run())
    # Only from the scrapes before the baseline; a later one that fails is a finding about the server.
    except ScrapeError as error:
        raise click.UsageError(f"--metrics-port, --pid: the server's metrics cannot be read: {error}") from error
    except CanaryError as error:
        click.echo(f"unproven: {error}", err=True)
        sys.exit(UNPROVEN)
    click.echo(summary_line(results))
    return results


def _server_name(common: CommonOptions) -> str:
    """Empty for a server that does not say: it is held to nothing that only some servers do."""
    with Client(common.target) as client:
        try:
            return client.server_metadata(timeout=common.timeout).name
        except InferenceError:
            return ""


if __name__ == "__main__":
    main()

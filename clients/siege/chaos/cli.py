"""`siege chaos`: attacks on a server, and whether it kept its promises."""

import json
import sys
from dataclasses import dataclass
from typing import Any, TextIO

import click
import uvloop

from yais.clients.channel import HostPort as Server
from yais.clients.client import Client
from yais.clients.inputs.workload import announce
from yais.clients.options import POSITIVE, Positive, common_options
from yais.clients.options import CommonOptions as Common
from yais.clients.protocol import InferenceError
from yais.clients.siege.chaos import canary_process, proxy_cli, report
from yais.clients.siege.chaos.canary_process import CanaryError
from yais.clients.siege.chaos.catalogue import Attack, catalogue
from yais.clients.siege.chaos.course import Course, Outcome, Plan
from yais.clients.siege.chaos.doses import Dose
from yais.clients.siege.chaos.page import Reader, UnreadablePageError
from yais.clients.siege.chaos.promises import MB, Terms
from yais.clients.siege.transports import has_native
from yais.proto.grpc_service_pb2 import ModelInferRequest

_HOUR = 3600
# This one says that its counters have every request for its models, refused or not.
_COUNTS_REFUSALS = "yais"

EXAMPLES = """\b
Examples:
  siege chaos --metrics-port 50078
  siege chaos cancel-storm truncated --duration 5 --seed 1
  siege chaos churn --toxic latency:50ms:10ms:0.5 --toxic reset:1s:0.1
  siege chaos proxy --listen 6000 --to localhost:50051 --toxic slicer:10B:1ms
"""


class WithProxy(click.Command):
    """A command whose first argument may name another one, `proxy`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["proxy"]:
            return proxy_cli.main.make_context(f"{info_name} proxy", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


def _list(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        for attack in catalogue().values():
            click.echo(f"{attack.name:<20} {attack.text}")
        context.exit()


def _chosen(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> list[Attack]:
    attacks = catalogue()
    unknown = [name for name in names if name not in attacks]
    if unknown:
        raise click.BadParameter(f"no attack is called {unknown[0]!r}; siege chaos --list names them")
    return [attacks[name] for name in names] or list(attacks.values())


@click.command(cls=WithProxy, epilog=EXAMPLES)
@click.argument("attacks", nargs=-1, callback=_chosen, metavar="[ATTACK]...")
@common_options
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Names the attacks.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Port of the server's page of metrics.")
@click.option("--pid", type=POSITIVE, help="Its process, if it is on this machine and the page has no process_*.")
@click.option("--duration", type=Positive(_HOUR), default=5.0, show_default=True, help="Seconds for each attack.")
@click.option("--load", type=click.IntRange(1, 10_000), default=32, show_default=True, help="The most in flight.")
@click.option("--canary-rate", type=Positive(1000), default=50.0, show_default=True, help="Requests a second.")
@click.option(
    "--canary-bound",
    type=Positive(_HOUR * 1000),
    help="Milliseconds for its p99; by default 10 times what it is without an attack, at least 50.",
)
@click.option("--memory-bound", type=POSITIVE, default=160, show_default=True, help="MB by which the server may grow.")
@click.option("--settle", type=Positive(_HOUR), default=5.0, show_default=True, help="Seconds to recover in.")
@click.option(
    "--toxic", "doses", type=proxy_cli.TOXIC, multiple=True, help="Attacks go through a proxy with it (repeatable)."
)
@click.option("--report", "file", type=click.File("w", lazy=False), help="File for the report as JSON.")
def main(common: Common, attacks: list[Attack], metrics_port: int | None, pid: int | None, **options: Any) -> None:
    """Attacks a server in turn with all of the attacks, or those named, while a canary, which does no harm, calls it.

    After each, the promises: a new client is answered; the server's counters have grown by what the clients know of;
    nothing is left in flight; files and memory are back; nothing wrong was answered with OK; and the canary
    lost nothing and was kept waiting no longer than its bound. Nobody else may call the server meanwhile. `siege chaos
    proxy --help` tells of the proxy and its toxics.

    Exits with 0 when all promises were kept, 1 when the server broke one, 2 for bad usage, 3 when the clients could not
    do their part, so that nothing is proven.
    """
    settings = Settings(**options)
    # One server is attacked, and its page read: a target of several is refused before anything is called.
    where = Server(common.host, common.port)
    request = announce(common).request()
    server = _server_name(common)
    plan = _plan(common, settings, where, request, server)
    reader = Reader(where.host, metrics_port, request.model_name, pid)
    order = canary_process.order(
        common.target, request.SerializeToString(), settings.canary_rate, common.timeout, plan.transport
    )
    outcomes = _run(plan, reader, order, attacks)
    if settings.file is not None:
        json.dump(report.as_json(outcomes, _facts(common, server, plan)), settings.file, indent=2)
    sys.exit(report.exit_code(outcomes))


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that are not about where the server is."""

    duration: float
    load: int
    canary_rate: float
    canary_bound: float | None
    memory_bound: int
    settle: float
    doses: tuple[Dose, ...]
    file: TextIO | None


def _plan(common: Common, settings: Settings, where: Server, request: ModelInferRequest, server: str) -> Plan:
    return Plan(
        where.host,
        where.port,
        "native" if has_native() else "grpcio",
        request,
        common.seed,
        settings.duration,
        settings.load,
        common.timeout,
        settings.settle,
        Terms(settings.canary_bound or 0.0, settings.memory_bound * MB, server == _COUNTS_REFUSALS),
        settings.doses,
    )


def _run(plan: Plan, reader: Reader, order: canary_process.Order, attacks: list[Attack]) -> list[Outcome]:
    def tell(outcome: Outcome) -> None:
        click.echo(report.line(outcome))

    async def go() -> list[Outcome]:
        async with canary_process.called(order) as canary:
            return await Course(plan, reader, canary).run(attacks, tell)

    try:
        outcomes = uvloop.run(go())
    except UnreadablePageError as error:
        raise click.UsageError(f"--metrics-port, --pid: the server's figures cannot be read: {error}") from error
    except CanaryError as error:
        click.echo(f"unproven: {error}", err=True)
        sys.exit(report.UNPROVEN)
    click.echo(report.last_line(outcomes))
    return outcomes


def _server_name(common: Common) -> str:
    """Empty for a server that does not tell: then it promises nothing that only some servers do."""
    with Client(common.target) as client:
        try:
            return client.server_metadata(timeout=common.timeout).name
        except InferenceError:
            return ""


def _facts(common: Common, server: str, plan: Plan) -> dict[str, Any]:
    return {
        "target": common.target,
        "server": server,
        "model": plan.request.model_name,
        "seed": plan.seed,
        "duration": plan.duration,
    }


if __name__ == "__main__":
    main()

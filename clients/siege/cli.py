"""`siege`: requests on a schedule, whatever the server makes of them."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from yais.clients.options import POSITIVE, CommonOptions, Positive, common_options
from yais.clients.reporters.text import render
from yais.clients.siege import files
from yais.clients.siege.files import OBJECTIVES, ReportFile
from yais.clients.siege.operations import besiege, search_for_max
from yais.clients.siege.requests.options import Inputs, input_options
from yais.clients.siege.requests.prepared import find_golden, opened
from yais.clients.siege.schedules.options import ArrivalOptions, arrival_options
from yais.clients.siege.search.curve import Curve
from yais.clients.siege.settings import Settings, facts_of, load_of
from yais.clients.siege.traffic.lines import has_native
from yais.clients.siege.views.address import metrics_option
from yais.clients.stats.report import Report
from yais.clients.stats.slo import Assessment, assess
from yais.clients.stats.verdict import exit_code, judge

SUBCOMMANDS = {
    "chaos": "yais.clients.siege.chaos.cli",
    "compare": "yais.clients.siege.compare_cli",
    "plot": "yais.clients.siege.plot_cli",
    "report": "yais.clients.siege.report_cli",
}

EXAMPLES = """\b
Examples:
  siege --rate 100
  siege --rate 2500 --duration 30 --model mlp --batch 8
  siege --rate 50 --count 1000 --picture coffee.jpg --timeout 2
  siege --rate 4000 --duration 10 --connections 4 --max-outstanding 200
  siege --rate 500 --schedule poisson --warmup 5 --duration 60 --report run.json
  siege --rate 800 --duration 60 --slo "p99<20ms, errors<0.1%"
  siege --rate 200 --find-max --slo "p99<20ms"
  siege --concurrency 8 --duration 10 --mix mlp=3,identity=1
  siege --rate 60000 --processes 2 --duration 30 --report run.html
  siege --target dns:///models.default:50051 --rate 2000 --metrics 9101

\b
Other commands, each with --help:
  siege report FILE         a saved report as text, CSV or an HdrHistogram
  siege compare A B         whether two runs differ
  siege plot FILE...        runs as a page of plots
  siege chaos               what breaks a server, beside a client that wants to be served
"""


class Siege(click.Command):
    """A command by itself, and the way to those that are named as its first argument."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        given = list(sys.argv[1:] if args is None else args)
        module = SUBCOMMANDS.get(given[0]) if given else None
        if module is None:
            return super().main(given, prog_name, **extra)
        return import_module(module).main.main(given[1:], f"siege {given[0]}", **extra)


@click.command(cls=Siege, epilog=EXAMPLES)
@common_options
@input_options
@arrival_options
@click.option("--max-outstanding", type=POSITIVE, default=950, show_default=True, help="The most requests in flight.")
@click.option("--connections", type=click.IntRange(1, 256), default=1, show_default=True, help="Connections in turn.")
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that share the schedule, each with its own --connections.",
)
@click.option(
    "--max-lag",
    type=Positive(1e6),
    default=1.0,
    show_default=True,
    help="Milliseconds of delay of siege's own, past which for one request in a hundred the run is INVALID.",
)
@click.option("--late-after", type=Positive(1e9), help="Milliseconds after which an answer counts as late.")
@click.option("--slo", type=OBJECTIVES, help='Objectives that decide the exit code, such as "p99<20ms, errors<0.1%".')
@click.option(
    "--find-max",
    is_flag=True,
    help="Look for the highest rate that keeps --slo, from --rate on; --duration is the longest probe.  [default: 60]",
)
@click.option(
    "--report",
    "reports",
    type=ReportFile(),
    multiple=True,
    help="Write the report: .json whole, .html as a page of plots, .csv by second, .hgrm percentiles, .hlog "
    "HdrHistogram's log (repeatable).",
)
@metrics_option
@click.option("--log", type=click.File("w"), help="Write every request as a line of CSV while the run goes on.")
@click.option(
    "--transport",
    type=click.Choice(["native", "grpcio"]),
    default=lambda: "native" if has_native() else "grpcio",
    show_default="native, where it was built",
    help="What speaks gRPC: YAIS's own transport, or grpcio's, which costs siege more for each request.",
)
def main(common: CommonOptions, inputs: Inputs, plan: ArrivalOptions, **options: Any) -> None:
    """Sends requests on a schedule, whatever the replies do, and prints the latencies.

    With --rate alone request k is due k / rate seconds after the start, and its latency counts from then: a server that
    stalls cannot hide it by slowing down the load. The report gives beside it the service time (from the send to the
    answer) and the send lag (from the due time to the send; this is siege's own delay). A request that is due while
    --max-outstanding are in flight is held back: not sent at all, but counted.

    The last lines say whether the run was VALID, and whose limit it met if not. Exits with 0 when it was and all was
    answered, 1 when anything failed, 2 for bad usage, 3 when siege itself was late (--max-lag), 4 when the server fell
    behind or requests were held back, 5 when an objective of --slo was missed. Ctrl-C ends the sending and waits for
    what is in flight, a second one cancels that.
    """
    settings = Settings(**options)
    if settings.transport == "native" and not has_native():
        raise click.UsageError("--transport: 'native' was not built into this installation; 'grpcio' is there")
    with opened(common, inputs) as requests:
        golden = find_golden(common, inputs, requests)
        load = load_of(common, plan, settings, requests, golden)
        facts = facts_of(common, plan, settings, requests)
        if settings.find_max:
            end_search(search_for_max(load, facts, settings), settings)
        report = besiege(load, facts, settings)
    assessments = assess(settings.slo or (), report)
    for file in settings.reports:
        files.write(report, assessments, file)
    end(report, assessments)


def end(report: Report, assessments: Sequence[Assessment]) -> NoReturn:
    """Prints the report and its verdict, and exits as they say; objectives decide of a valid run."""
    verdict = judge(report)
    click.echo("\n".join([render(report, verdict), *map(str, assessments)]))
    is_met = all(each.kept for each in assessments) if assessments else None
    sys.exit(exit_code(report, verdict, is_met))


def end_search(curve: Curve, settings: Settings) -> NoReturn:
    for file in settings.reports:
        files.write_curve(curve, file)
    click.echo(curve.table())
    sys.exit(curve.exit_code)

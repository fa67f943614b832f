"""`siege`: requests on a schedule, whatever the server makes of them."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click
import uvloop

from yais.clients.channel import HostPort
from yais.clients.command import ClientCommand, option_group
from yais.clients.durations import DurationOption
from yais.clients.inputs.names import did_you_mean
from yais.clients.options import POSITIVE, CommonOptions, Parsed, common_options, run_info
from yais.clients.outputs import OutputFile, write_error
from yais.clients.reporters.tabular import RequestLog
from yais.clients.reporters.text import render
from yais.clients.siege.balancer import Endpoint
from yais.clients.siege.cores import CoreMeter
from yais.clients.siege.find_max import Judge, find_max
from yais.clients.siege.report_cli import OBJECTIVES, ReportFile, write_curves, write_reports
from yais.clients.siege.requests import RequestOptions, Requests, find_golden, open_requests, request_options
from yais.clients.siege.runner import LoadConfig, run_local
from yais.clients.siege.schedules.options import ArrivalOptions, arrival_options
from yais.clients.siege.search import Curve, Search
from yais.clients.siege.terminal import open_views
from yais.clients.siege.transports import TransportName, has_native
from yais.clients.siege.workers import run_distributed
from yais.clients.stats.report import Report, RunInfo, summarise
from yais.clients.stats.slo import Objective, assess, objectives_met
from yais.clients.stats.verdict import exit_code, judge

# Seconds.
# A probe that takes no longer than the shortest is checked only once, at its end.
_SHORTEST_PROBE, _LONGEST_PROBE = 2.0, 60.0

# As text: a run does not need what the others import.
SUBCOMMANDS = {
    "chaos": "yais.clients.siege.chaos.cli:main",
    "compare": "yais.clients.siege.compare_cli:main",
    "plot": "yais.clients.siege.report_cli:plot",
    "report": "yais.clients.siege.report_cli:report",
}

EXAMPLES = """\b
Exit codes:
  0  VALID; with --slo, every objective was met
  1  FAILED, or a file could not be written
  2  bad usage
  3  INVALID: siege itself was late (--max-lag)
  4  INVALID: the server fell behind, or requests were dropped
  5  an objective of --slo was missed

\b
Examples:
  siege --rate 100
  siege --rate 2500 --duration 30s --model mlp --batch 8
  siege --rate 50 --count 1000 --picture coffee.jpg --timeout 2s
  siege --rate 4000 --duration 10s --connections 4 --max-outstanding 200
  siege --rate 500 --schedule poisson --warmup 5s --duration 60s --report run.json
  siege --rate 800 --duration 60s --slo "p99<20ms, errors<0.1%"
  siege --rate 200 --find-max --slo "p99<20ms"
  siege --concurrency 8 --duration 10s --mix mlp=3,identity=1
  siege --rate 60000 --processes 2 --duration 30s --report run.html
  siege --target dns:///models.default:50051 --rate 2000 --metrics 9101

\b
Other commands, each with --help:
  siege report FILE         a saved report as text, CSV or an HdrHistogram
  siege compare A B         whether two runs differ
  siege plot FILE...        runs as a page of plots
  siege chaos               attacks on a server, and what it must keep under them
"""


_LOCAL = "127.0.0.1"
_HIGHEST_PORT = 65_535


class Siege(ClientCommand):
    """A command by itself, and the way to those that are named as its first argument."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        given = list(sys.argv[1:] if args is None else args)
        # Looked up before click parses anything: the options of a subcommand are its own.
        if not given or given[0] not in SUBCOMMANDS:
            return super().main(given, prog_name, **extra)
        module, name = SUBCOMMANDS[given[0]].split(":")
        return getattr(import_module(module), name).main(given[1:], f"siege {given[0]}", **extra)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        # This command takes no arguments: what is no option here is a subcommand that is spelled wrongly.
        if args and not args[0].startswith("-"):
            hint = did_you_mean(args[0], SUBCOMMANDS)
            raise click.UsageError(f"no command of siege is called {args[0]!r}{hint}")
        return super().make_context(info_name, args, parent, **extra)


def parse_address(text: str) -> HostPort:
    """Raises ValueError for what is neither PORT nor HOST:PORT."""
    # At the last colon, since an IPv6 host has others.
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else _LOCAL
    if not host or not port.isdecimal() or (":" in host and not text.startswith("[")):
        raise ValueError(f"{text!r} is not PORT or HOST:PORT, where an IPv6 host stands in brackets")
    if int(port) > _HIGHEST_PORT:
        raise ValueError(f"port {port} is above {_HIGHEST_PORT}")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{host!r} is not a host name") from None
    return HostPort(host, int(port))


_sending_option = option_group("Sending")
_verdict_option = option_group("Verdict")
_output_option = option_group("Output")


@click.command(cls=Siege, epilog=EXAMPLES)
@common_options
@request_options
@arrival_options
@_sending_option(
    "--max-outstanding", type=POSITIVE, default=950, show_default=True, help="The most requests in flight."
)
@_sending_option(
    "--connections", type=click.IntRange(1, 256), default=1, show_default=True, help="Connections, used in turn."
)
@_sending_option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that share the schedule, each with its own --connections.",
)
@_verdict_option(
    "--max-lag",
    type=DurationOption("ms", 1e6),
    default="1ms",
    show_default=True,
    help="The most that siege itself may send late; the run is INVALID when more than 1% of its requests exceed it. "
    "Milliseconds without a unit.",
)
@_verdict_option(
    "--late-after",
    type=DurationOption("ms", 1e9),
    help="Latency above which an answer counts as late; milliseconds without a unit.",
)
@_verdict_option(
    "--slo", type=OBJECTIVES, help='Objectives that decide the exit code, such as "p99<20ms, errors<0.1%".'
)
@_verdict_option(
    "--find-max",
    is_flag=True,
    help="Look for the highest rate that keeps --slo, from --rate on; --duration is the longest probe.  [default: 60s]",
)
@_output_option(
    "--report",
    "reports",
    type=ReportFile(),
    multiple=True,
    help="Write the report: .json whole, .html as a page of plots, .csv by second, .hgrm percentiles, .hlog "
    "HdrHistogram's log (repeatable).",
)
@_output_option(
    "--metrics",
    type=Parsed("port|host:port", parse_address),
    help="Serve Prometheus metrics at /metrics while siege runs. A PORT alone is on 127.0.0.1; 0 takes a free one.",
)
@_output_option("--log", type=OutputFile(), help="Write every request as a line of CSV while the run goes on.")
@_sending_option(
    "--transport",
    type=click.Choice(["native", "grpcio"]),
    # A function: whether it was built shows only when it is imported, for which --help does not wait.
    default=lambda: "native" if has_native() else "grpcio",
    show_default="native, where it was built",
    help="Implementation of gRPC: YAIS's own, or grpcio, which costs siege more CPU for each request.",
)
def main(common: CommonOptions, inputs: RequestOptions, arrivals: ArrivalOptions, **options: Any) -> None:
    """Sends requests on a schedule, whatever the server does, and prints the latencies.

    With --rate alone request k is due k / rate seconds after the start, and its latency counts from then: a server that
    stalls cannot hide it by slowing down the load. The report also gives the service time (from the send to the
    answer) and the send lag (from the due time to the send: siege's own delay). A request that is due while
    --max-outstanding are in flight is dropped: counted, but never sent.

    The verdict comes last: VALID, FAILED when any request failed, or INVALID when the load was not the one asked for.

    Ctrl-C stops sending and waits for the requests in flight; a second one cancels them.
    """
    settings = SiegeOptions(**options)
    if settings.transport == "native" and not has_native():
        raise click.UsageError("--transport: 'native' was not built into this installation; 'grpcio' is there")
    with open_requests(common, inputs) as requests:
        # Before the load: what a server mixes up only under load differs from these answers.
        golden = find_golden(common, inputs, requests)
        load = LoadConfig(
            endpoint=Endpoint(settings.transport, common.target, requests.method, settings.connections),
            requests=requests,
            arrivals=arrivals,
            timeout=common.timeout,
            max_outstanding=settings.max_outstanding,
            golden=golden,
            # Milliseconds as an option, nanoseconds in the records.
            late_after=None if settings.late_after is None else round(settings.late_after * 1e6),
        )
        info = describe_run(common, arrivals, settings, requests)
        if settings.find_max:
            end_search(search(load, info, settings), settings)
        with open_log(settings.log) as log:
            report = run(load, info, settings, log)
    # Only now: closing the log writes the rest of it, and may fail as well.
    lost = log and log.error
    end(report, settings, [write_error("--log", settings.log, lost)] if settings.log and lost else [])


@dataclass(frozen=True, slots=True)
class SiegeOptions:
    """The options that are neither common to all commands, nor about inputs or the schedule."""

    max_outstanding: int
    connections: int
    processes: int
    max_lag: float
    late_after: float | None
    slo: tuple[Objective, ...] | None
    find_max: bool
    reports: tuple[Path, ...]
    metrics: HostPort | None
    log: Path | None
    transport: TransportName


def describe_run(
    common: CommonOptions, arrivals: ArrivalOptions, settings: SiegeOptions, requests: Requests
) -> RunInfo:
    return replace(
        run_info(common),
        schedule=str(arrivals),
        loop="closed" if arrivals.is_closed else "open",
        rate_asked=arrivals.rate,
        seed=arrivals.arrival_seed,
        kinds=requests.kinds,
        max_outstanding=arrivals.concurrency or settings.max_outstanding,
        max_lag=settings.max_lag,
    )


@contextmanager
def open_log(path: Path | None) -> Iterator[RequestLog | None]:
    """Raises click's exception when it cannot be opened."""
    if path is None:
        yield None
        return
    try:
        log = RequestLog(path.open("w"))
    except OSError as error:
        raise click.ClickException(write_error("--log", path, error)) from error
    try:
        yield log
    finally:
        log.close()


def run(load: LoadConfig, info: RunInfo, settings: SiegeOptions, log: RequestLog | None) -> Report:
    """Raises click's usage error for options that do not go with several processes."""
    if settings.processes > 1 and settings.log is not None:
        raise click.UsageError("--log and --processes exclude each other: only one process can write the log")
    with open_views(settings.metrics, labels(info)) as views:
        if settings.processes > 1:
            work = run_distributed(load, settings.processes, views.show)
        else:
            work = run_local(load, log, views.show)
        cores = CoreMeter()
        tally, sent = uvloop.run(work)
    addresses: Counter[str] = Counter()
    for each in sent:
        # A sum of counters would leave out an address that got nothing.
        addresses.update(each.addresses)
    cost = replace(
        info,
        cpu=tuple(each.cpu for each in sent),
        addresses=dict(addresses),
        connections_lost=sum(each.losses for each in sent),
        cores=cores.cores,
        busy_cores=cores.busy(),
    )
    return summarise(tally, cost)


def search(load: LoadConfig, info: RunInfo, settings: SiegeOptions) -> Curve:
    """Raises click's usage error where there is nothing to search for, or by."""
    arrivals = load.arrivals
    if not settings.slo:
        raise click.UsageError("--find-max needs --slo: the objectives to keep")
    if arrivals.rate is None or arrivals.count is not None or settings.log:
        raise click.UsageError("--find-max needs --rate to start from, and takes no --count or --log")
    if any(file.suffix != ".json" for file in settings.reports):
        raise click.UsageError("--report: the curve of --find-max is written as .json only")
    if settings.processes > 1:
        raise click.UsageError("--find-max and --processes exclude each other")
    longest = arrivals.duration or _LONGEST_PROBE
    judge = Judge(settings.slo, shortest=min(_SHORTEST_PROBE, longest), longest=longest)
    with open_views(settings.metrics, labels(info)) as views:
        return uvloop.run(find_max(load, info, judge, Search(arrivals.rate), views.show))


def labels(info: RunInfo) -> dict[str, str]:
    """The labels of `siege_info`."""
    return {"target": info.target, "schedule": info.schedule, "version": info.versions["yais"]}


def end(report: Report, settings: SiegeOptions, problems: list[str]) -> NoReturn:
    """Prints the report and its verdict, writes it, and exits as they say; `problems` are those of other outputs.

    What cannot be written costs nothing else, and is 1 where it would be 0.
    """
    assessments = assess(settings.slo or (), report)
    is_met = objectives_met(assessments)
    verdict = judge(report, is_met)
    try:
        click.echo("\n".join([render(report, verdict), *map(str, assessments)]))
    finally:
        # Also when nobody reads the standard output any more.
        problems += write_reports(report, assessments, settings.reports)
        _say(problems)
    sys.exit(exit_code(verdict, is_met) or bool(problems))


def end_search(curve: Curve, settings: SiegeOptions) -> NoReturn:
    """As `end` does."""
    try:
        click.echo(curve.table())
    finally:
        problems = write_curves(curve, settings.reports)
        _say(problems)
    sys.exit(curve.exit_code or bool(problems))


def _say(problems: list[str]) -> None:
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)

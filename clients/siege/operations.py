"""What siege does: one run, or the search for the highest rate."""

from collections import Counter
from dataclasses import replace

import click
import uvloop

from yais.clients.reporters.tabular import RequestLog
from yais.clients.siege.load import Load
from yais.clients.siege.processes.crew import Crew
from yais.clients.siege.run import Sent, Show, send
from yais.clients.siege.search.curve import Curve
from yais.clients.siege.search.finding import find
from yais.clients.siege.search.probing import Judge
from yais.clients.siege.search.search import Search
from yais.clients.siege.settings import Settings
from yais.clients.siege.views.views import open_views
from yais.clients.stats.recorder import Recorder, Tally
from yais.clients.stats.report import Report, RunInfo, summarise

# Seconds.
_SHORTEST_PROBE, _LONGEST_PROBE = 2.0, 60.0


def besiege(load: Load, facts: RunInfo, settings: Settings) -> Report:
    lay = lay_together if settings.processes > 1 else lay_alone
    with open_views(settings.metrics, labels(facts)) as views:
        tally, sent = lay(load, settings, views.show)
    addresses: Counter[str] = Counter()
    for each in sent:
        # A sum of counters would leave out an address that got nothing.
        addresses.update(each.addresses)
    return summarise(tally, replace(facts, cpu=tuple(each.cpu for each in sent), addresses=dict(addresses)))


def lay_alone(load: Load, settings: Settings, show: Show) -> tuple[Tally, list[Sent]]:
    sink = None if settings.log is None else RequestLog(settings.log)
    recorder = Recorder(late_after=load.late_after, sink=sink)
    sent = uvloop.run(send(load, recorder, show))
    return recorder.tally, [sent]


def lay_together(load: Load, settings: Settings, show: Show) -> tuple[Tally, list[Sent]]:
    if settings.log is not None:
        raise click.UsageError("--log is written by one process, and --processes asks for several")

    async def lay() -> tuple[Tally, list[Sent]]:
        return await Crew(load, settings.processes, show).run()

    return uvloop.run(lay())


def search_for_max(load: Load, facts: RunInfo, settings: Settings) -> Curve:
    """Raises click's usage error where there is nothing to search for, or by."""
    plan = load.plan
    if not settings.slo:
        raise click.UsageError("--find-max needs --slo, which it is to keep")
    if plan.rate is None or plan.count is not None or settings.log:
        raise click.UsageError("--find-max needs --rate to start from, and takes no --count or --log")
    if any(file.suffix != ".json" for file in settings.reports):
        raise click.UsageError("--report: the curve of --find-max is written as .json only")
    if settings.processes > 1:
        raise click.UsageError("--find-max is done by one process, and --processes asks for several")
    longest = plan.duration or _LONGEST_PROBE
    judge = Judge(settings.slo, shortest=min(_SHORTEST_PROBE, longest), longest=longest)
    with open_views(settings.metrics, labels(facts)) as views:
        return uvloop.run(find(load, facts, judge, Search(plan.rate), views.show))


def labels(facts: RunInfo) -> dict[str, str]:
    """What the metrics tell about the run as a whole."""
    return {"target": facts.target, "schedule": facts.schedule, "version": facts.versions["yais"]}

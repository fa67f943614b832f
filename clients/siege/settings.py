"""What siege's own options add up to."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from yais.clients.options import CommonOptions, run_info
from yais.clients.siege.load import Load
from yais.clients.siege.requests.golden import Golden
from yais.clients.siege.requests.requests import Requests
from yais.clients.siege.schedules.options import ArrivalOptions
from yais.clients.siege.traffic.connections import Route
from yais.clients.siege.traffic.lines import TransportName
from yais.clients.siege.views.address import Address
from yais.clients.stats.report import RunInfo
from yais.clients.stats.slo import Objective


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that are neither common to all commands, nor about inputs or the schedule."""

    max_outstanding: int
    connections: int
    processes: int
    max_lag: float
    late_after: float | None
    slo: tuple[Objective, ...] | None
    find_max: bool
    reports: tuple[Path, ...]
    metrics: Address | None
    log: TextIO | None
    transport: TransportName


def load_of(
    common: CommonOptions, plan: ArrivalOptions, settings: Settings, requests: Requests, golden: Golden | None
) -> Load:
    return Load(
        Route(settings.transport, common.target, requests.method, settings.connections),
        requests,
        plan,
        common.timeout,
        settings.max_outstanding,
        golden,
        None if settings.late_after is None else round(settings.late_after * 1e6),
    )


def facts_of(common: CommonOptions, plan: ArrivalOptions, settings: Settings, requests: Requests) -> RunInfo:
    return replace(
        run_info(common),
        schedule=str(plan),
        loop="closed" if plan.is_closed else "open",
        rate_asked=plan.rate,
        seed=plan.arrival_seed,
        kinds=requests.kinds,
        max_outstanding=plan.concurrency or settings.max_outstanding,
        max_lag=settings.max_lag,
    )

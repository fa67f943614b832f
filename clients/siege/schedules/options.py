"""When siege sends: its options, and the schedule that they add up to."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any

import click

from yais.clients.options import POSITIVE, Positive
from yais.clients.siege.schedules import syntax
from yais.clients.siege.schedules.dry_run import print_schedule
from yais.clients.siege.schedules.pacer import SECOND, Constant, Pacer, Until, count_before
from yais.clients.siege.schedules.syntax import MOST_PER_SECOND, YEAR, Schedule

_DAY = 86_400


class ScheduleType(click.ParamType[Schedule]):
    """A schedule as `syntax` reads it."""

    name = "schedule"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Schedule:
        if isinstance(value, Schedule):
            return value
        try:
            return syntax.parse(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


@dataclass(frozen=True, slots=True)
class Plan:
    """When requests are sent, and how many; the fields are the options, times in seconds.

    `duration` and `count` bound what is counted: the warm-up comes before it. A plan with `concurrency` is a closed
    loop and has no schedule.
    """

    rate: float | None = None
    schedule: Schedule | None = None
    arrival_seed: int = 0
    duration: float | None = None
    count: int | None = None
    warmup: float | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        """Raises click's usage error for options that exclude each other."""
        if self.duration is not None and self.count is not None:
            raise click.UsageError("--duration and --count exclude each other")
        if self.concurrency is not None:
            if self.rate is not None or self.schedule is not None:
                raise click.UsageError("--concurrency is a closed loop, which has neither --rate nor --schedule")
        elif self.schedule is None or self.schedule.takes_rate:
            if self.rate is None:
                raise click.UsageError(f"Missing option '--rate'{f' for {self.schedule}' if self.schedule else ''}.")
        elif self.rate is not None:
            raise click.UsageError(f"--rate: {self.schedule} has rates of its own")

    @property
    def is_closed(self) -> bool:
        return self.concurrency is not None

    @property
    def warmup_ns(self) -> int:
        return round((self.warmup or 0) * SECOND)

    @property
    def duration_ns(self) -> int | None:
        return None if self.duration is None else round(self.duration * SECOND)

    @property
    def length(self) -> int | None:
        """Where the schedule ends by itself."""
        return None if self.schedule is None else self.schedule.length

    def __str__(self) -> str:
        if self.is_closed:
            return f"closed loop, {self.concurrency:,} in flight"
        rate = "" if self.rate is None else f"{self.rate:,.10g}/s"
        if self.schedule is None:
            return f"constant, {rate}"
        return f"{self.schedule}, {rate}" if self.schedule.takes_rate else str(self.schedule)


def make_pacer(plan: Plan) -> Pacer:
    """The schedule of an open loop. Raises click's usage error for one that is over before the warm-up is."""
    pacer = _unbounded(plan)
    if plan.count is not None:
        return Until(pacer, plan.count + count_before(pacer, plan.warmup_ns))
    end = plan.length if plan.duration_ns is None else plan.warmup_ns + plan.duration_ns
    pacer = Until(pacer, duration=end)
    if plan.warmup and pacer.due(count_before(pacer, plan.warmup_ns)) is None:
        raise click.UsageError(f"--warmup: {plan} is over within {plan.warmup:g} s")
    return pacer


def _unbounded(plan: Plan) -> Pacer:
    rate = plan.rate or 0.0
    return Constant(rate) if plan.schedule is None else plan.schedule.make(rate, plan.arrival_seed)


_OPTIONS = (
    click.option("--rate", type=Positive(MOST_PER_SECOND), help="Requests a second; of random arrivals the mean."),
    click.option(
        "--schedule",
        type=ScheduleType(),
        metavar="SCHEDULE",
        help=f"When requests are due, instead of at even gaps: {'; '.join(syntax.usages())}. Rates are a second, times "
        "in seconds; docs/siege.md explains each.",
    ),
    click.option(
        "--arrival-seed", type=click.IntRange(min=0), default=0, show_default=True, help="For random arrivals."
    ),
    click.option(
        "--concurrency", type=click.IntRange(1, 100_000), help="A closed loop instead: as many in flight, always."
    ),
    click.option("--duration", type=Positive(YEAR), help="Seconds to send for; by default until Ctrl-C."),
    click.option("--count", type=POSITIVE, help="Requests to send, instead of --duration."),
    click.option(
        "--warmup",
        type=Positive(_DAY),
        help="Seconds at the start whose requests are sent but not counted; --duration or --count comes on top.",
    ),
    click.option("--dry-run", is_flag=True, help="Print when each request would be due, and send nothing."),
)


def schedule_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds these options to a command, which gets them as `plan`; a dry run ends before the command begins."""

    @wraps(command)
    def call(*positional: Any, dry_run: bool, **values: Any) -> None:
        plan = Plan(**{field.name: values.pop(field.name) for field in fields(Plan)})
        if dry_run:
            show(plan)
        else:
            command(*positional, plan=plan, **values)

    for option in reversed(_OPTIONS):
        call = option(call)
    return call


def show(plan: Plan) -> None:
    if plan.is_closed:
        raise click.UsageError("--dry-run: a closed loop has no schedule")
    if plan.duration is None and plan.count is None and plan.length is None:
        raise click.UsageError(f"--dry-run: {plan} has no end without --duration or --count")
    print_schedule(make_pacer(plan))

"""Options that say when siege sends, the language of `--schedule`, and the dry run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from math import inf, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from yais.clients.command import option_group
from yais.clients.durations import DurationOption, parse_duration
from yais.clients.options import POSITIVE, Parsed, Positive
from yais.clients.siege.schedules.pacer import Arrivals, Constant, Pacer, Until, count_before
from yais.clients.siege.schedules.pacers import (
    ReplayPacer,
    SinePacer,
    gamma_gaps,
    poisson_gaps,
    pulses,
    ramp,
    read_recording,
    steps,
    uniform_gaps,
)
from yais.clients.stats.histogram import SECOND

MOST_PER_SECOND = 1e6
# In seconds: as nanoseconds, and several of them summed, still far from FOREVER.
YEAR = 366 * 86_400.0

_DAY = 86_400

# Later than FOREVER, so that `take` gives whole blocks.
_NO_END = 2**63 - 1


@dataclass(frozen=True, slots=True)
class NumberField:
    """A number of a schedule and its bounds, which are allowed; one `with_unit` is a duration, in seconds."""

    name: str
    least: float
    most: float
    with_unit: bool = False

    def read(self, text: str) -> float:
        """Raises ValueError, naming the field, for what is no such number."""
        try:
            number = parse_duration(text) if self.with_unit else float(text)
        except ValueError:
            raise ValueError(f"{self.name} is {text!r}, which is not a number") from None
        if not self.least <= number <= self.most:
            raise ValueError(f"{self.name} is {text}, not from {self.least:g} to {self.most:,.10g}")
        return number


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule without its surroundings: `make(rate, seed)` gives it.

    One without `takes_rate` has rates of its own, and no use for that of --rate. `length`, in nanoseconds, is where it
    ends; a duration may have its last rate go on for longer. None for one that has no end.
    """

    text: str
    takes_rate: bool
    make: Callable[[float, int], Pacer]
    length: int | None = None

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Callable[[str], "Schedule"], tuple[str]]:
        """Goes to another process as its text."""
        # `make` is a lambda or a closure, which cannot be pickled.
        return parse_schedule, (self.text,)


RATE = NumberField("RATE", 0, MOST_PER_SECOND)
DURATION = NumberField("DURATION", 0.001, YEAR, with_unit=True)
PERIOD = NumberField("PERIOD", 0.001, YEAR, with_unit=True)
DUTY = NumberField("DUTY", 0.001, 0.999)
SHAPE = NumberField("SHAPE", 0.01, 10_000)
MEAN = NumberField("MEAN", 0.001, MOST_PER_SECOND)


def parse_schedule(text: str) -> Schedule:
    """Raises ValueError, naming the field and its bounds."""
    name, _, rest = text.partition(":")
    if name not in _FORMS:
        raise ValueError(f"{text!r} is not one of {', '.join(usages())}")
    usage, read = _FORMS[name]
    try:
        return read(text, rest)
    except ValueError as error:
        raise ValueError(f"{usage}: {error}") from None


def usages() -> list[str]:
    """How each schedule is written."""
    return [usage for usage, _ in _FORMS.values()]


def _plain(make: Callable[[float, int], Pacer]) -> Callable[[str, str], Schedule]:
    """Reads a schedule that is a name without numbers."""

    def read(text: str, rest: str) -> Schedule:
        # Raises for numbers that do not belong there, as in `poisson:5`.
        _numbers(rest)
        return Schedule(text, True, make)

    return read


def _gamma(text: str, rest: str) -> Schedule:
    (shape,) = _numbers(rest, SHAPE)
    return Schedule(text, True, lambda rate, seed: gamma_gaps(rate, shape, seed))


def _pulse(text: str, rest: str) -> Schedule:
    # With a HIGH of 0 no request would ever be due.
    low, high, period, duty = _numbers(rest, _rate_field("LOW"), _rate_field("HIGH", 0.001), PERIOD, DUTY)
    if low > high:
        raise ValueError(f"LOW is {low:g}, not at most HIGH, {high:g}")
    return Schedule(text, False, lambda rate, seed: pulses(low, high, _nanoseconds(period), duty))


def _step(text: str, rest: str) -> Schedule:
    rates = []
    for step in rest.split(","):
        rate, duration = _numbers(step, RATE, DURATION)
        rates.append((rate, _nanoseconds(duration)))
    if not any(rate for rate, _ in rates):
        raise ValueError("every RATE is 0, not one above it")
    return Schedule(text, False, lambda rate, seed: steps(rates), sum(duration for _, duration in rates))


def _ramp(text: str, rest: str) -> Schedule:
    begin, end, duration = _numbers(rest, _rate_field("FROM"), _rate_field("TO"), DURATION)
    if not begin and not end:
        raise ValueError("FROM and TO are 0, not one of them above it")
    length = _nanoseconds(duration)
    return Schedule(text, False, lambda rate, seed: ramp(begin, end, length), length)


def _sine(text: str, rest: str) -> Schedule:
    mean, amplitude, period = _numbers(rest, MEAN, _rate_field("AMPLITUDE"), PERIOD)
    # The rate would be below 0 for a part of every period.
    if amplitude > mean:
        raise ValueError(f"AMPLITUDE is {amplitude:g}, not at most MEAN, {mean:g}")
    return Schedule(text, False, lambda rate, seed: SinePacer(mean, amplitude, _nanoseconds(period)))


def _replay(text: str, rest: str) -> Schedule:
    if not rest:
        raise ValueError("FILE is missing")
    # Read while the options are, so that a file that cannot be replayed is bad usage.
    recorded = ReplayPacer(read_recording(Path(rest)))
    return Schedule(text, False, lambda rate, seed: recorded, recorded.length)


_FORMS: Mapping[str, tuple[str, Callable[[str, str], Schedule]]] = MappingProxyType(
    {
        "poisson": ("poisson", _plain(poisson_gaps)),
        "gamma": ("gamma:SHAPE", _gamma),
        "uniform": ("uniform", _plain(uniform_gaps)),
        "pulse": ("pulse:LOW:HIGH:PERIOD:DUTY", _pulse),
        "step": ("step:RATE:DURATION,RATE:DURATION,...", _step),
        "ramp": ("ramp:FROM:TO:DURATION", _ramp),
        "sine": ("sine:MEAN:AMPLITUDE:PERIOD", _sine),
        "replay": ("replay:FILE", _replay),
    }
)


@dataclass(frozen=True, slots=True)
class ArrivalOptions:
    """When requests are sent, and how many; the fields are the options, times in seconds.

    `duration` and `count` bound what is counted: the warm-up comes before it. With `concurrency` it is a closed
    loop, which has no schedule.
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


def make_pacer(arrivals: ArrivalOptions) -> Pacer:
    """The schedule of an open loop. Raises click's usage error for one that is over before the warm-up is."""
    # 0 for a schedule with rates of its own, which does not look at it.
    rate = arrivals.rate or 0.0
    pacer = Constant(rate) if arrivals.schedule is None else arrivals.schedule.make(rate, arrivals.arrival_seed)
    if arrivals.count is not None:
        # What is due in the warm-up comes on top of --count.
        return Until(pacer, arrivals.count + count_before(pacer, arrivals.warmup_ns))
    end = arrivals.length if arrivals.duration_ns is None else arrivals.warmup_ns + arrivals.duration_ns
    # Without an end of its own or the user's it goes on until Ctrl-C.
    pacer = Until(pacer, duration=end)
    # Without an arrival after the warm-up nothing would be measured.
    if arrivals.warmup and pacer.due(count_before(pacer, arrivals.warmup_ns)) is None:
        raise click.UsageError(f"--warmup: {arrivals} is over within {arrivals.warmup:g} s")
    return pacer


_option = option_group("Schedule")

_OPTIONS = (
    _option("--rate", type=Positive(MOST_PER_SECOND), help="Requests a second; the mean of random arrivals."),
    _option(
        "--schedule",
        type=Parsed("schedule", parse_schedule),
        help=f"When requests are due, instead of at even gaps: {'; '.join(usages())}. Rates are a second; times are "
        "seconds without a unit. docs/siege.md explains each.",
    ),
    _option("--arrival-seed", type=click.IntRange(min=0), default=0, show_default=True, help="For random arrivals."),
    _option(
        "--concurrency", type=click.IntRange(1, 100_000), help="A closed loop instead: always this many in flight."
    ),
    _option(
        "--duration",
        type=DurationOption("s", YEAR),
        help="Time to send for; seconds without a unit; by default until Ctrl-C.",
    ),
    _option("--count", type=POSITIVE, help="Requests to send, instead of --duration."),
    _option(
        "--warmup",
        type=DurationOption("s", _DAY),
        help="Time at the start whose requests are sent but not counted; --duration or --count comes on top.",
    ),
    _option("--dry-run", is_flag=True, help="Print when each request would be due, and send nothing."),
)


def arrival_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds these options to a command, which gets them as `arrivals`; a dry run ends before the command begins."""

    @wraps(command)
    def call(*positional: Any, dry_run: bool, **values: Any) -> None:
        arrivals = ArrivalOptions(**{field.name: values.pop(field.name) for field in fields(ArrivalOptions)})
        if not dry_run:
            command(*positional, arrivals=arrivals, **values)
            return
        if arrivals.is_closed:
            raise click.UsageError("--dry-run: a closed loop has no schedule")
        if arrivals.duration is None and arrivals.count is None and arrivals.length is None:
            raise click.UsageError(f"--dry-run: {arrivals} has no end without --duration or --count")
        print_schedule(make_pacer(arrivals))

    for option in reversed(_OPTIONS):
        call = option(call)
    return call


def print_schedule(pacer: Pacer) -> None:
    """The offsets on the standard output, a line each, in seconds, as a replay reads them; a summary beside it."""
    summary, arrivals = ScheduleSummary(), Arrivals(pacer)
    while block := arrivals.take(_NO_END):
        summary.add(block)
        # By integer division: nanoseconds stay exact, however late in the schedule.
        click.echo("\n".join(f"{due // SECOND}.{due % SECOND:09d}" for due in block))
    click.echo(summary, err=True)


@dataclass(slots=True)
class ScheduleSummary:
    """What a schedule amounts to, in nanoseconds; the gaps are those between arrivals."""

    arrivals: int = 0
    first: int = 0
    last: int = 0
    shortest: float = inf
    longest: float = 0
    squares: float = 0

    def add(self, block: list[int]) -> None:
        if not self.arrivals:
            self.first = self.last = block[0]
            self.arrivals, block = 1, block[1:]
        for due in block:
            gap = due - self.last
            self.shortest, self.longest = min(self.shortest, gap), max(self.longest, gap)
            self.squares += gap * gap
            self.last = due
        self.arrivals += len(block)

    def __str__(self) -> str:
        if self.arrivals < 2:
            return f"{self.arrivals} arrivals"
        gaps, length = self.arrivals - 1, self.last - self.first
        mean = length / gaps
        # The mean of the squares less the square of the mean; rounding may leave a little less than 0.
        deviation = sqrt(max(self.squares / gaps - mean**2, 0))
        return (
            f"{self.arrivals:,} arrivals from {self.first / SECOND:.3f} s to {self.last / SECOND:.3f} s; "
            f"gaps: mean {mean / 1e6:.3f} ms, deviation {deviation / 1e6:.3f} ms, "
            f"from {self.shortest / 1e6:.3f} ms to {self.longest / 1e6:.3f} ms"
        )


def _numbers(text: str, *expected: NumberField) -> list[float]:
    values = text.split(":") if text else []
    if len(values) != len(expected):
        wanted = f"one for each of {', '.join(field.name for field in expected)}" if expected else "none"
        raise ValueError(f"{text!r} has {len(values)} numbers, not {wanted}")
    return [field.read(value) for field, value in zip(expected, values, strict=True)]


def _rate_field(name: str, least: float = 0) -> NumberField:
    return NumberField(name, least, MOST_PER_SECOND)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)

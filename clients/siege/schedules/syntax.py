"""Schedules as they are written on the command line: `poisson`, `pulse:LOW:HIGH:PERIOD:DUTY`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from yais.clients.siege.schedules import recording, renewal
from yais.clients.siege.schedules.linear import pulses, ramp, steps
from yais.clients.siege.schedules.pacer import SECOND, Pacer
from yais.clients.siege.schedules.sine import Sine

MOST_PER_SECOND = 1e6
YEAR = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Part:
    """A number of a schedule and its bounds, which are allowed."""

    name: str
    least: float
    most: float

    def read(self, text: str) -> float:
        """Raises ValueError, naming the part, for what is no such number."""
        try:
            number = float(text)
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
        return parse, (self.text,)


RATE = Part("RATE", 0, MOST_PER_SECOND)
DURATION = Part("DURATION", 0.001, YEAR)
PERIOD = Part("PERIOD", 0.001, YEAR)
DUTY = Part("DUTY", 0.001, 0.999)
SHAPE = Part("SHAPE", 0.01, 10_000)
MEAN = Part("MEAN", 0.001, MOST_PER_SECOND)


def parse(text: str) -> Schedule:
    """Raises ValueError, naming the part and its bounds."""
    name, _, rest = text.partition(":")
    if name not in _FORMS:
        raise ValueError(f"{text!r} is none of {', '.join(usages())}")
    usage, read = _FORMS[name]
    try:
        return read(text, rest)
    except ValueError as error:
        raise ValueError(f"{usage}: {error}") from None


def usages() -> list[str]:
    """How each schedule is written."""
    return [usage for usage, _ in _FORMS.values()]


def _poisson(text: str, rest: str) -> Schedule:
    _numbers(rest)
    return Schedule(text, True, renewal.poisson)


def _uniform(text: str, rest: str) -> Schedule:
    _numbers(rest)
    return Schedule(text, True, renewal.uniform_gaps)


def _gamma(text: str, rest: str) -> Schedule:
    (shape,) = _numbers(rest, SHAPE)
    return Schedule(text, True, lambda rate, seed: renewal.gamma_gaps(rate, shape, seed))


def _pulse(text: str, rest: str) -> Schedule:
    low, high, period, duty = _numbers(rest, _rate("LOW"), _rate("HIGH", 0.001), PERIOD, DUTY)
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
    begin, end, duration = _numbers(rest, _rate("FROM"), _rate("TO"), DURATION)
    if not begin and not end:
        raise ValueError("FROM and TO are 0, not one of them above it")
    length = _nanoseconds(duration)
    return Schedule(text, False, lambda rate, seed: ramp(begin, end, length), length)


def _sine(text: str, rest: str) -> Schedule:
    mean, amplitude, period = _numbers(rest, MEAN, _rate("AMPLITUDE"), PERIOD)
    if amplitude > mean:
        raise ValueError(f"AMPLITUDE is {amplitude:g}, not at most MEAN, {mean:g}")
    return Schedule(text, False, lambda rate, seed: Sine(mean, amplitude, _nanoseconds(period)))


def _replay(text: str, rest: str) -> Schedule:
    if not rest:
        raise ValueError("FILE is missing")
    recorded = recording.Recording(recording.read(Path(rest)))
    return Schedule(text, False, lambda rate, seed: recorded, recorded.length)


def _numbers(text: str, *parts: Part) -> list[float]:
    values = text.split(":") if text else []
    if len(values) != len(parts):
        wanted = f"one for each of {', '.join(part.name for part in parts)}" if parts else "none"
        raise ValueError(f"{text!r} has {len(values)} numbers, not {wanted}")
    return [part.read(value) for part, value in zip(parts, values, strict=True)]


def _rate(name: str, least: float = 0) -> Part:
    return Part(name, least, MOST_PER_SECOND)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)


_FORMS: Mapping[str, tuple[str, Callable[[str, str], Schedule]]] = MappingProxyType(
    {
        "poisson": ("poisson", _poisson),
        "gamma": ("gamma:SHAPE", _gamma),
        "uniform": ("uniform", _uniform),
        "pulse": ("pulse:LOW:HIGH:PERIOD:DUTY", _pulse),
        "step": ("step:RATE:DURATION,RATE:DURATION,...", _step),
        "ramp": ("ramp:FROM:TO:DURATION", _ramp),
        "sine": ("sine:MEAN:AMPLITUDE:PERIOD", _sine),
        "replay": ("replay:FILE", _replay),
    }
)

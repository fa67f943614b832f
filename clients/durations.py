"""Durations as options write them: `500us`, `2ms`, `30s`, `5m`, or a bare number in the option's own unit."""

import math
import re
from typing import Any

import click

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# The number is matched lazily: a greedy match would take `5ms` for a number `5m` in seconds.
_DURATION = re.compile(rf"(.*?)\s*({'|'.join(_SECONDS)})?")


def parse_duration(text: str, unit: str = "s") -> float:
    """In `unit`, which is also that of a bare number. Raises ValueError for what is no finite number with a unit."""
    match = _DURATION.fullmatch(text.strip())
    number = float(match[1]) if match else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not finite")
    # A bare number stays as it is, to the last bit.
    return number if not match or match[2] in (None, unit) else number * _SECONDS[match[2]] / _SECONDS[unit]


class DurationOption(click.ParamType[float]):
    """A duration above 0 and up to `most`, in `unit`."""

    name = "duration"

    def __init__(self, unit: str, most: float) -> None:
        self._unit = unit
        self._most = most

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        try:
            duration = parse_duration(str(value), self._unit)
        except ValueError:
            self.fail(f"{value!r} is not a duration: write 500us, 2ms, 30s or 5m", parameter, context)
        if not 0 < duration <= self._most:
            self.fail(f"{value} is not above 0 and up to {self._most:.10g}{self._unit}", parameter, context)
        return duration

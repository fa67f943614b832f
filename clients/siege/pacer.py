"""When requests are due: schedules as pure functions, which know neither clock nor server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SECOND = 1_000_000_000


class Pacer(Protocol):
    """A schedule of arrivals; times are nanoseconds since its start, arrivals are counted from 0."""

    def due(self, arrival: int) -> int | None:
        """When `arrival` is due; never before the arrival ahead of it, None past the end of the schedule."""

    def rate(self, elapsed: int) -> float:
        """The arrivals a second that the schedule asks for at `elapsed`."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Arrival k is due at k / rate, exactly, however long the schedule runs."""

    per_second: float

    def due(self, arrival: int) -> int:
        numerator, denominator = self.per_second.as_integer_ratio()
        return arrival * SECOND * denominator // numerator

    def rate(self, elapsed: int) -> float:
        return self.per_second


@dataclass(frozen=True, slots=True)
class Until:
    """A schedule that ends after `count` arrivals, or before `duration` nanoseconds; None sets no bound."""

    pacer: Pacer
    count: int | None = None
    duration: int | None = None

    def due(self, arrival: int) -> int | None:
        if self.count is not None and arrival >= self.count:
            return None
        due = self.pacer.due(arrival)
        if due is None or (self.duration is not None and due >= self.duration):
            return None
        return due

    def rate(self, elapsed: int) -> float:
        return self.pacer.rate(elapsed)


def released(pacer: Pacer, elapsed: int, count: int) -> Iterator[int]:
    """The due times of all arrivals due by `elapsed`, after the first `count`."""
    while (due := pacer.due(count)) is not None and due <= elapsed:
        yield due
        count += 1

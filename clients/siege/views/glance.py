"""What a siege looks like at one moment; the glances at several processes add up to one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from yais.clients.stats.histogram import Histogram
from yais.clients.stats.outcomes import Counts


@dataclass(frozen=True, slots=True)
class Glance:
    """`elapsed` seconds since the start, and `interval` seconds since the glance before; all else without the warm-up.

    `counts` and `failures` (by the name of their status) are of what has ended since the start, `warm_up` of what ended
    before; `latency` is of what completed within the interval, `lag` of what was sent and ended in it. `asked` is the
    rate that the schedule asks for now, a second; None in a closed loop. The `last` one is taken when all has ended.
    """

    elapsed: float = 0.0
    interval: float = 0.0
    asked: float | None = None
    counts: Counts = field(default_factory=Counts)
    failures: dict[str, int] = field(default_factory=dict)
    warm_up: int = 0
    in_flight: int = 0
    latency: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    last: bool = False

    @classmethod
    def merged(cls, glances: Sequence["Glance"]) -> "Glance":
        """The sum over processes that were looked at together."""
        asked = [glance.asked for glance in glances if glance.asked is not None]
        failures: Counter[str] = Counter()
        for glance in glances:
            failures.update(glance.failures)
        return cls(
            elapsed=max(glance.elapsed for glance in glances),
            interval=max(glance.interval for glance in glances),
            asked=sum(asked) if asked else None,
            counts=sum((glance.counts for glance in glances), Counts()),
            failures=dict(failures.most_common()),
            warm_up=sum(glance.warm_up for glance in glances),
            in_flight=sum(glance.in_flight for glance in glances),
            latency=summed(glance.latency for glance in glances),
            lag=summed(glance.lag for glance in glances),
            last=all(glance.last for glance in glances),
        )

    def then(self, later: "Glance") -> "Glance":
        """Both intervals as one."""
        return replace(
            later,
            interval=self.interval + later.interval,
            latency=summed([self.latency, later.latency]),
            lag=summed([self.lag, later.lag]),
        )

    @property
    def at_rest(self) -> "Glance":
        """What remains of it when its run is over: what was done."""
        asked = None if self.asked is None else 0.0
        return replace(self, interval=0.0, asked=asked, in_flight=0, latency=Histogram(), lag=Histogram())

    @property
    def answered(self) -> float:
        """Completed requests a second, in the interval."""
        return self.latency.total / self.interval if self.interval else 0.0


def summed(histograms: Iterable[Histogram]) -> Histogram:
    """A histogram of its own, which leaves those as they are."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total

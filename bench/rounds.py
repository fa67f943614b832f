"""Rounds in which contestants are measured in turn, A B C A B C, and the rows of figures that come of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import click

from bench.measure import BenchError, NotInstalledError, Size, Spread, Subject, Usage, usage

Case = TypeVar("Case")
Result = TypeVar("Result")

WARM_UP = 0.1  # Of a round.


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure should be."""

    kind: Literal["at most", "at least"]
    value: float


@dataclass(frozen=True, slots=True)
class ContestSample:
    """One contestant in one round: the figure that matters, and the calls a second.

    `busy` is the share of its core that the subject had, `others` that of one core which went to processes that have no
    part in this.
    """

    figure: float
    rate: float
    busy: float
    others: float

    @classmethod
    def of(cls, figure: float, calls: int, spent: Usage) -> "ContestSample":
        return cls(figure, calls / spent.seconds, spent.subject / spent.seconds, spent.others_share)


# Makes so many calls and says how that went.
Burst = Callable[[int], ContestSample]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who is measured, by `burst`, which makes so many calls; `part` is how many of a round's calls those are.

    `bound` is set on the ratio to the yardstick, `least_rate` on the calls a second. `check` proves an answer where the
    bursts cannot.
    """

    name: str
    burst: Burst
    part: float = 1
    bound: Bound | None = None
    least_rate: float | None = None
    check: Callable[[], None] = lambda: None

    def calls(self, size: Size, fraction: float = 1) -> int:
        return max(1, round(size.requests * self.part * fraction))


@dataclass(frozen=True, slots=True)
class ContestRow:
    """A contestant in a case. `figure` is what the benchmark counts.

    `of_medians` is its median through the yardstick's; `ratio` is taken within each round. Both are None where there is
    nothing to compare with.
    """

    case: str
    name: str
    calls: int
    figure: Spread
    of_medians: float | None
    ratio: Spread | None
    bound: Bound | None
    rate: Spread
    least_rate: float | None
    busy: Spread
    others: Spread


def compare(case: str, contestants: Sequence[Contestant], size: Size, yardstick: str) -> list[ContestRow]:
    """Measures all contestants in turn and compares them with the one named `yardstick`, where it takes part."""
    rounds = interleave(contestants, size)
    # The yardstick may not be installed here; without it there are figures, but no ratios.
    against = next((samples for one, samples in zip(contestants, rounds, strict=True) if one.name == yardstick), None)
    return [
        row(case, one, one.calls(size), samples, None if samples is against else against)
        for one, samples in zip(contestants, rounds, strict=True)
    ]


def interleave(contestants: Sequence[Contestant], size: Size) -> list[list[ContestSample]]:
    """The samples of each contestant, after a warm-up that is not counted."""
    for one in contestants:
        one.check()
        one.burst(one.calls(size, WARM_UP))
    # A B A B, not A A B B: drift of the machine strikes all contestants alike.
    rounds = [[one.burst(one.calls(size)) for one in contestants] for _ in range(size.rounds)]
    for one in contestants:
        one.check()
    return [list(samples) for samples in zip(*rounds, strict=True)]


def row(
    case: str, one: Contestant, calls: int, samples: Sequence[ContestSample], against: Sequence[ContestSample] | None
) -> ContestRow:
    figure = Spread.of([sample.figure for sample in samples])
    yardstick = against and Spread.of([sample.figure for sample in against])
    return ContestRow(
        case,
        one.name,
        calls,
        figure,
        of_medians=figure.median / yardstick.median if yardstick else None,
        # Both halves of a round's ratio saw the same machine; ratios across rounds would have its drift in them.
        ratio=Spread.of([a / b for a, b in zip(figure.rounds, yardstick.rounds, strict=True)]) if yardstick else None,
        # It is a bound on the ratio, not on the figure.
        bound=one.bound if yardstick else None,
        rate=Spread.of([sample.rate for sample in samples]),
        least_rate=one.least_rate,
        busy=Spread.of([sample.busy for sample in samples]),
        others=Spread.of([sample.others for sample in samples]),
    )


def cpu_per_call(subject: Subject, load: Callable[[int], object], other_end: Subject | None = None) -> Burst:
    """A burst whose figure is the CPU of `subject`, in microseconds a call."""

    def burst(calls: int) -> ContestSample:
        _, spent = metered(subject, lambda: load(calls), other_end)
        return ContestSample.of(spent.subject * 1e6 / calls, calls, spent)

    return burst


def metered(subject: Subject, work: Callable[[], Result], other_end: Subject | None = None) -> tuple[Result, Usage]:
    """What `work` returns, and what everybody used meanwhile."""
    before = usage(subject, other_end)
    result = work()
    return result, usage(subject, other_end) - before


def measure_each(
    cases: Iterable[Case], measure: Callable[[Case], Iterable[Result]], title: Callable[[Case], str]
) -> list[Result]:
    """The results of all cases that can be measured; of the others it is told why not, in full where that is new.

    Raises `NotInstalledError` when none can.
    """
    results: list[Result] = []
    reasons = {"there is none"}
    for case in cases:
        try:
            results.extend(measure(case))
        except BenchError as error:
            text = str(error).strip()
            reason = text.rpartition("\n")[2]
            click.echo(f"  without {title(case)}: {reason if reason in reasons else text}", err=True)
            reasons.add(reason)
    if not results:
        raise NotInstalledError("no case could be measured")
    return results

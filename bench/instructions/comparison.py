"""What requests cost this checkout, beside what they cost another commit that was measured in turn with it."""

from dataclasses import dataclass

from bench.instructions.callgrind import TOOLS
from bench.instructions.checkout import INSTALLED, Checkout, checkout
from bench.instructions.rounds import SERVERS, Figures, count_instructions, time_cpu
from bench.measure import Size, Spread, choose_cores, pinned
from bench.rounds import Bound
from bench.transport.programs import require

SHORT = Size(rounds=2, requests=1_024)
FULL = Size(rounds=3, requests=1_024)


@dataclass(frozen=True, slots=True)
class Row:
    """A checkout in a case: instructions, and microseconds of CPU, that a request takes.

    What is "of medians" is the median through the other commit's, and ratios are taken within each round; None for that
    commit itself, and where there is none. `bound` is set on the instructions' `of_medians`.
    """

    case: str
    name: str
    requests: int
    instructions: Spread
    of_medians: float | None
    ratio: Spread | None
    bound: Bound | None
    cpu_us: Spread
    cpu_of_medians: float | None
    cpu_ratio: Spread | None


def run(size: Size, against: str | None = None, bound: float | None = None) -> list[Row]:
    """Compares with the commit `against`, of whose instructions a request should take `bound` at most."""
    require(*TOOLS)
    other = checkout(against) if against else None
    checkouts = [other, INSTALLED] if other else [INSTALLED]
    cores, rows = choose_cores(), []
    with pinned(cores.load):
        for server in SERVERS:
            figures = (
                count_instructions(server, checkouts, size, cores),
                time_cpu(server, checkouts, size, cores),
            )
            for case in server.cases:
                if other:
                    rows.append(_row(case.name, other.name, case.requests(size), *figures))
                rows.append(_row(case.name, INSTALLED.name, case.requests(size), *figures, other, bound))
    return rows


def _row(
    case: str,
    name: str,
    requests: int,
    instructions: Figures,
    cpu_us: Figures,
    other: Checkout | None = None,
    bound: float | None = None,
) -> Row:
    return Row(
        case,
        name,
        requests,
        *_compared(instructions, case, name, other),
        Bound("at most", bound) if other and bound else None,
        *_compared(cpu_us, case, name, other),
    )


def _compared(
    figures: Figures, case: str, name: str, other: Checkout | None
) -> tuple[Spread, float | None, Spread | None]:
    figure = Spread.of(figures[case, name])
    if other is None:
        return figure, None, None
    before = Spread.of(figures[case, other.name])
    ratios = [a / b for a, b in zip(figure.rounds, before.rounds, strict=True)]
    return figure, figure.median / before.median, Spread.of(ratios)

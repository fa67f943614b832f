"""Comparison of what requests cost this checkout and another commit, measured in turn with it."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from bench.instructions.callgrind import INSTALLED, TOOLS, Checkout, checkout, counted
from bench.measure import Benchmark, Cores, Size, Spread, Subject, choose_cores, engine, pinned, running, yais
from bench.rounds import Bound, metered
from bench.service.questions import ModelRequest, Question, expect, infer
from bench.transport import contract
from bench.transport.contract import require
from bench.transport.http2 import connected
from bench.transport.peers import ECHO_SERVERS

# CPU varies far more, and takes far less time to measure.
_CPU_ROUNDS = 3
_CPU_REQUESTS = 2

# What the command does, in the words of all commits: installed scripts are those of this checkout.
_SERVE = "from yais.server.cli import main; main()"

# Case and checkout -> the figures of the rounds, for each request.
Figures = dict[tuple[str, str], list[float]]
# Has so many requests answered, and answered right.
MakeCalls = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class CountedCase:
    """What is asked, `window` times in one write; `part` is that of a round's requests."""

    name: str
    question: Callable[[], Question]
    window: int = 1
    part: float = 1

    def requests(self, size: Size) -> int:
        """Those of a round, in whole writes."""
        return max(1, round(size.requests * self.part / self.window)) * self.window


@dataclass(frozen=True, slots=True)
class CountedServer:
    """A command, and the cases that one server of it is asked, one after the other."""

    command: Callable[[], list[str]]
    cases: tuple[CountedCase, ...]


def _echo() -> Question:
    message: bytes = contract.message(100).SerializeToString()
    return Question(contract.METHOD, message, partial(expect, message))


# With 1,024 requests, or 100 batches, a round has a whole number of the recorder's counts of what waited for it.
COUNTED_SERVERS = (
    CountedServer(ECHO_SERVERS["native, bytes"].command, (CountedCase("raw call, 100 B", _echo),)),
    CountedServer(
        # Threads of ONNX Runtime wait for each other by spinning, and how long is never the same.
        lambda: [sys.executable, "-c", _SERVE, *yais(engine("identity"), engine("mlp"))[1:], "--threads", "1"],
        (
            CountedCase("identity, 16 floats", partial(infer, ModelRequest("identity", (16,)))),
            CountedCase("identity, 1,024 floats", partial(infer, ModelRequest("identity", (1_024,)))),
            CountedCase(
                "mlp, 32 in a batch", partial(infer, ModelRequest("mlp", (1, 64))), window=32, part=100 * 32 / 1_024
            ),
        ),
    ),
)


def count_instructions(server: CountedServer, checkouts: Sequence[Checkout], size: Size, cores: Cores) -> Figures:
    """The checkouts in turn, each with one server for all rounds: another takes long to start, and counts the same."""
    figures: Figures = defaultdict(list)
    with ExitStack() as stack:
        counters = [stack.enter_context(counted(one, server.command(), cores.server)) for one in checkouts]
        for one, counter in zip(checkouts, counters, strict=True):
            one.require_loaded(counter.subject)
            counter.begin()
        for case in server.cases:
            requests = case.requests(size)
            loads = [stack.enter_context(_load(case, counter.subject, requests)) for counter in counters]
            for counter in counters:
                # Drops what the warm-up of this case took.
                counter.instructions()
            for _ in range(size.rounds):
                for one, counter, load in zip(checkouts, counters, loads, strict=True):
                    load(requests)
                    figures[case.name, one.name].append(counter.instructions() / requests)
    return figures


def time_cpu(server: CountedServer, checkouts: Sequence[Checkout], size: Size, cores: Cores) -> Figures:
    """Microseconds of the checkouts in turn, with new servers each round: one may be slow for as long as it runs."""
    figures: Figures = defaultdict(list)
    for _ in range(size.rounds * _CPU_ROUNDS):
        for one in checkouts:
            # Without callgrind, and without the clock that stands nearly still.
            with running(one.name, one.command(server.command()), cores.server) as subject:
                for case in server.cases:
                    requests = case.requests(size) * _CPU_REQUESTS
                    with _load(case, subject, case.requests(size)) as load:
                        _, spent = metered(subject, partial(load, requests))
                    figures[case.name, one.name].append(spent.subject * 1e6 / requests)
    return figures


@contextmanager
def _load(case: CountedCase, subject: Subject, warm_up: int) -> Iterator[MakeCalls]:
    """The load of a case on a connection of its own, once so many requests have made the server warm."""
    question = case.question()
    with connected(subject.port, question.method, question.message) as client:

        def load(requests: int) -> None:
            question.check(client.load(requests, case.window))

        load(warm_up)
        yield load


@dataclass(frozen=True, slots=True)
class InstructionsRow:
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


def run_instructions(size: Size, against: str | None = None, bound: float | None = None) -> list[InstructionsRow]:
    """Compares with the commit `against`, of whose instructions a request should take `bound` at most."""
    require(*TOOLS)
    other = checkout(against) if against else None
    checkouts = [other, INSTALLED] if other else [INSTALLED]
    cores, rows = choose_cores(), []
    with pinned(cores.load):
        for server in COUNTED_SERVERS:
            figures = (
                count_instructions(server, checkouts, size, cores),
                time_cpu(server, checkouts, size, cores),
            )
            for case in server.cases:
                # The other commit's row comes first, as the one that this checkout is compared with.
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
) -> InstructionsRow:
    return InstructionsRow(
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


BENCHMARKS = {
    "instructions": Benchmark(
        run_instructions, short=Size(rounds=2, requests=1_024), full=Size(rounds=3, requests=1_024)
    ),
}

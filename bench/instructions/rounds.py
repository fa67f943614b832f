"""What is asked of which server, and the rounds of it: counted by callgrind, and on the CPU's clock without."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from bench.instructions.callgrind import counted
from bench.instructions.checkout import Checkout
from bench.measure import Cores, Size, Subject, engine, running, yais
from bench.rounds import metered
from bench.service.questions import Model, Question, expect, infer
from bench.transport import contract
from bench.transport.http2 import connected
from bench.transport.peers import PEERS

# CPU varies far more, and takes far less time to measure.
_CPU_ROUNDS = 3
_CPU_REQUESTS = 2

# Case and checkout -> the figures of the rounds, for each request.
Figures = dict[tuple[str, str], list[float]]
# Has so many requests answered, and answered right.
Load = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, `window` times in one write; `part` is that of a round's requests."""

    name: str
    question: Callable[[], Question]
    window: int = 1
    part: float = 1

    def requests(self, size: Size) -> int:
        """Those of a round, in whole writes."""
        return max(1, round(size.requests * self.part / self.window)) * self.window


@dataclass(frozen=True, slots=True)
class Server:
    """A command, and the cases that one server of it is asked, one after the other."""

    command: Callable[[], list[str]]
    cases: tuple[Case, ...]


def _service() -> list[str]:
    return [*yais(engine("identity"), engine("mlp")), "--threads", "1"]


def _echo() -> Question:
    message: bytes = contract.message(100).SerializeToString()
    return Question(contract.METHOD, message, partial(expect, message))


# With 1,024 requests, or 100 batches, a round has a whole number of the recorder's counts of what waited for it.
SERVERS = (
    Server(PEERS["native, bytes"].command, (Case("raw call, 100 B", _echo),)),
    Server(
        _service,
        (
            Case("identity, 16 floats", partial(infer, Model("identity", (16,)))),
            Case("identity, 1,024 floats", partial(infer, Model("identity", (1_024,)))),
            Case("mlp, 32 in a batch", partial(infer, Model("mlp", (1, 64))), window=32, part=100 * 32 / 1_024),
        ),
    ),
)


def count_instructions(server: Server, checkouts: Sequence[Checkout], size: Size, cores: Cores) -> Figures:
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
                counter.instructions()
            for _ in range(size.rounds):
                for one, counter, load in zip(checkouts, counters, loads, strict=True):
                    load(requests)
                    figures[case.name, one.name].append(counter.instructions() / requests)
    return figures


def time_cpu(server: Server, checkouts: Sequence[Checkout], size: Size, cores: Cores) -> Figures:
    """Microseconds of the checkouts in turn, with new servers each round: one may be slow for as long as it runs."""
    figures: Figures = defaultdict(list)
    for _ in range(size.rounds * _CPU_ROUNDS):
        for one in checkouts:
            with running(one.name, one.command(server.command()), cores.server) as subject:
                for case in server.cases:
                    requests = case.requests(size) * _CPU_REQUESTS
                    with _load(case, subject, case.requests(size)) as load:
                        _, spent = metered(subject, partial(load, requests))
                    figures[case.name, one.name].append(spent.subject * 1e6 / requests)
    return figures


@contextmanager
def _load(case: Case, subject: Subject, warm_up: int) -> Iterator[Load]:
    """The load of a case on a connection of its own, once so many requests have made the server warm."""
    question = case.question()
    with connected(subject.port, question.method, question.message) as client:

        def load(requests: int) -> None:
            question.check(client.load(requests, case.window))

        load(warm_up)
        yield load

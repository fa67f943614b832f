"""What one process of the server reaches with all cores, and what a second one on the same port brings."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.measure import Size, Spread, Subject, engine, running, yais
from bench.service.questions import Model, infer
from bench.transport.loads import H2load, Shape
from bench.transport.programs import require
from bench.transport.rounds import WARM_UP, metered

SHORT = Size(rounds=3, requests=60_000)
FULL = Size(rounds=9, requests=400_000)

# So many connections that two processes have about as many of them.
SHAPE = Shape(connections=64, in_flight=8)
MODELS = (Model("identity", (16,)), Model("mlp", (1, 64)))

# The processes that share a port.
Team = Sequence[Subject]


@dataclass(frozen=True, slots=True)
class Row:
    """So many processes that share a port, on cores that they share with the load generator.

    CPU is in microseconds a request. `cores` is how many the processes had, and `busiest` the part of that which one of
    them had alone; `of_one` is the rate through that of one process.
    """

    case: str
    processes: int
    rate: Spread
    of_one: Spread | None
    server_us: Spread
    load_us: Spread
    cores: Spread
    busiest: Spread
    others: Spread


@dataclass(frozen=True, slots=True)
class Sample:
    """A team in one round; see `Row`."""

    rate: float
    server_us: float
    load_us: float
    cores: float
    busiest: float
    others: float


def run(size: Size) -> list[Row]:
    require("h2load")
    return [row for model in MODELS for row in _measure(model, size)]


def _measure(model: Model, size: Size) -> list[Row]:
    """In turn; the team that has nothing to do costs the other nothing."""
    question = infer(model)
    with sharing(model, 1) as one, sharing(model, 2) as two:
        loads = [(team, question.load(team[0].port, SHAPE)) for team in (one, two)]
        for team, load in loads:
            _sample(team, load, round(size.requests * WARM_UP))  # Not counted.
        rounds = [[_sample(team, load, size.requests) for team, load in loads] for _ in range(size.rounds)]
        question.verify(one[0].port)
        question.verify(two[0].port)
    alone, shared = zip(*rounds, strict=True)
    return [_row(model.name, 1, alone, None), _row(model.name, 2, shared, alone)]


@contextmanager
def sharing(model: Model, processes: int) -> Iterator[Team]:
    """Servers of one port, each with a thread for its runs, on whatever core is free."""
    with ExitStack() as stack:
        team: list[Subject] = []
        for _ in range(processes):
            flags = yais(engine(model.name), port=team[0].port if team else 0)[1:]
            command = [sys.executable, "-m", "bench.service.sharing", *flags, "--threads", "1"]
            team.append(stack.enter_context(running("YAIS", command, core=None)))
        yield team


def _sample(team: Team, load: H2load, requests: int) -> Sample:
    together = Subject("the team", team[0].port, team[0].process, tuple(each.process for each in team[1:]))
    before = [each.cpu_s() for each in team]
    _, spent = metered(together, lambda: load(requests))
    shares = [each.cpu_s() - had for each, had in zip(team, before, strict=True)]
    return Sample(
        rate=requests / spent.seconds,
        server_us=spent.subject * 1e6 / requests,
        load_us=spent.load * 1e6 / requests,
        cores=spent.subject / spent.seconds,
        busiest=max(shares) / sum(shares),
        others=spent.others_share,
    )


def _row(case: str, processes: int, samples: Sequence[Sample], alone: Sequence[Sample] | None) -> Row:
    return Row(
        case,
        processes,
        rate=Spread.of([each.rate for each in samples]),
        of_one=Spread.of([a.rate / b.rate for a, b in zip(samples, alone, strict=True)]) if alone else None,
        server_us=Spread.of([each.server_us for each in samples]),
        load_us=Spread.of([each.load_us for each in samples]),
        cores=Spread.of([each.cores for each in samples]),
        busiest=Spread.of([each.busiest for each in samples]),
        others=Spread.of([each.others for each in samples]),
    )

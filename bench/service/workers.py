"""What one process of the server reaches with all cores, and what a second one on the same port brings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.measure import Size, Spread, Subject, engine, running, yais
from bench.rounds import WARM_UP, metered
from bench.service.questions import Model, infer
from bench.transport.loads import H2load, Shape
from bench.transport.programs import require

SHORT = Size(rounds=3, requests=60_000)
FULL = Size(rounds=9, requests=400_000)

# So many connections that two processes have about as many of them.
SHAPE = Shape(connections=64, in_flight=8)
MODELS = (Model("identity", (16,)), Model("mlp", (1, 64)))


@dataclass(frozen=True, slots=True)
class Row:
    """So many workers, on cores that they share with the load generator.

    CPU is in microseconds a request. `cores` is how many they had, and `busiest` the part of that which one of them had
    alone; `of_one` is the rate through that of one worker.
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
    """A server in one round; see `Row`."""

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
    """In turn; the server that has nothing to do costs the other nothing."""
    question = infer(model)
    with serving(model, 1) as one, serving(model, 2) as two:
        loads = [(server, question.load(server.port, SHAPE)) for server in (one, two)]
        for server, load in loads:
            _sample(server, load, round(size.requests * WARM_UP))  # Not counted.
        rounds = [[_sample(server, load, size.requests) for server, load in loads] for _ in range(size.rounds)]
        question.verify(one.port)
        question.verify(two.port)
    alone, shared = zip(*rounds, strict=True)
    return [_row(model.name, 1, alone, None), _row(model.name, 2, shared, alone)]


@contextmanager
def serving(model: Model, workers: int) -> Iterator[Subject]:
    """A server with a thread for its runs in each worker, on whatever core is free."""
    command = [*yais(engine(model.name)), "--workers", str(workers), "--threads", "1"]
    with running(f"{workers} worker(s)", command, core=None) as server:
        yield server


def _sample(server: Subject, load: H2load, requests: int) -> Sample:
    workers = [Subject("worker", server.port, process) for process in server.children or [server.process]]
    before = [each.cpu_s() for each in workers]
    _, spent = metered(server, lambda: load(requests))
    shares = [each.cpu_s() - had for each, had in zip(workers, before, strict=True)]
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

"""Scaling of the whole service: what a request costs with more of them under way, more connections, more processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench.measure import Benchmark, Size, Spread, Subject, choose_cores, engine, running, yais
from bench.rounds import WARM_UP, Bound, ContestRow, compare, metered
from bench.service.cost import contestant
from bench.service.questions import ModelRequest, infer
from bench.service.servers import SERVERS, YARDSTICK, ServerName, serving
from bench.transport.contract import require
from bench.transport.peers import H2load, LoadShape
from bench.transport.server_cost import COUNTS, Scaled, Series

CONCURRENCY_NAMES: tuple[ServerName, ...] = ("C++", "YAIS", "Triton, C++ backend", "Triton, Python backend")
CONCURRENCY_MODELS = {"16 floats": ModelRequest("identity", (16,)), "1,024 floats": ModelRequest("identity", (1_024,))}
CONNECTIONS = 4
CONCURRENCIES = (1, 4, 16, 64, 256)
PARTS = {1: 0.25}  # One at a time takes long.

SCALING_MODEL = ModelRequest("identity", (16,))
# Of 1,024 that may wait, so that none is refused.
OVER_TEN = (1, 10, 102)
SERIES: Series = {
    "connections with a request each": {count: LoadShape(count, 1) for count in COUNTS},
    "requests in flight on a connection": {count: LoadShape(1, count) for count in COUNTS},
    "requests in flight over 10 connections": {10 * count: LoadShape(10, count) for count in OVER_TEN},
}
BOUND = Bound("at most", 1.25)

# So many connections that two processes have about as many of them.
WORKERS_SHAPE = LoadShape(connections=64, in_flight=8)
WORKERS_MODELS = (ModelRequest("identity", (16,)), ModelRequest("mlp", (1, 64)))


def run_concurrency(size: Size) -> list[ContestRow]:
    require("h2load")
    with serving(CONCURRENCY_NAMES, choose_cores()) as servers:
        return [
            row for title in CONCURRENCY_MODELS for count in CONCURRENCIES for row in _rows(title, count, servers, size)
        ]


def _rows(title: str, count: int, servers: dict[ServerName, Subject], size: Size) -> list[ContestRow]:
    connections = min(CONNECTIONS, count)
    shape, part = LoadShape(connections, count // connections), PARTS.get(count, 1)
    contestants = [contestant(name, server, CONCURRENCY_MODELS[title], shape, part) for name, server in servers.items()]
    return compare(f"requests of {title} in flight: {count}", contestants, size, YARDSTICK)


def run_scaling(size: Size) -> list[ContestRow]:
    """C++ is beside it to show what HTTP/2 itself costs more with many connections or streams."""
    require("h2load")
    with serving(("YAIS", "C++"), choose_cores()) as servers:
        contestants = [
            Scaled(
                name,
                server,
                load=partial(SERVERS[name].question(SCALING_MODEL).load, server.port),
                part=SERVERS[name].part,
                bound=bound,
            )
            # C++ may be missing.
            for (name, server), bound in zip(servers.items(), (BOUND, None), strict=False)
        ]
        return [row for one in contestants for row in one.rows(SERIES, size)]


@dataclass(frozen=True, slots=True)
class WorkersRow:
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
class WorkersSample:
    """A server in one round; see `WorkersRow`."""

    rate: float
    server_us: float
    load_us: float
    cores: float
    busiest: float
    others: float


def run_workers(size: Size) -> list[WorkersRow]:
    require("h2load")
    return [row for model in WORKERS_MODELS for row in _measure_workers(model, size)]


def _measure_workers(model: ModelRequest, size: Size) -> list[WorkersRow]:
    """In turn; the server that has nothing to do costs the other nothing."""
    question = infer(model)
    with serving_with_workers(model, 1) as one, serving_with_workers(model, 2) as two:
        loads = [(server, question.load(server.port, WORKERS_SHAPE)) for server in (one, two)]
        for server, load in loads:
            _workers_sample(server, load, round(size.requests * WARM_UP))  # Not counted.
        rounds = [[_workers_sample(server, load, size.requests) for server, load in loads] for _ in range(size.rounds)]
        question.verify(one.port)
        question.verify(two.port)
    alone, shared = zip(*rounds, strict=True)
    return [_workers_row(model.name, 1, alone, None), _workers_row(model.name, 2, shared, alone)]


@contextmanager
def serving_with_workers(model: ModelRequest, workers: int) -> Iterator[Subject]:
    """A server with a thread for its runs in each worker, on whatever core is free."""
    command = [*yais(engine(model.name)), "--workers", str(workers), "--threads", "1"]
    with running(f"{workers} worker(s)", command, core=None) as server:
        yield server


def _workers_sample(server: Subject, load: H2load, requests: int) -> WorkersSample:
    # With one worker there is no supervisor, and the process that was started serves.
    workers = [Subject("worker", server.port, process) for process in server.children or [server.process]]
    before = [each.cpu_s() for each in workers]
    _, spent = metered(server, lambda: load(requests))
    shares = [each.cpu_s() - had for each, had in zip(workers, before, strict=True)]
    return WorkersSample(
        rate=requests / spent.seconds,
        server_us=spent.subject * 1e6 / requests,
        load_us=spent.load * 1e6 / requests,
        cores=spent.subject / spent.seconds,
        # Of the workers alone; `spent` has the supervisor's CPU as well.
        busiest=max(shares) / sum(shares),
        others=spent.others_share,
    )


def _workers_row(
    case: str, processes: int, samples: Sequence[WorkersSample], alone: Sequence[WorkersSample] | None
) -> WorkersRow:
    return WorkersRow(
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


BENCHMARKS = {
    "service-concurrency": Benchmark(
        run_concurrency, short=Size(rounds=2, requests=8_000), full=Size(rounds=5, requests=60_000)
    ),
    "service-scaling": Benchmark(
        run_scaling, short=Size(rounds=2, requests=10_000), full=Size(rounds=5, requests=60_000)
    ),
    "service-workers": Benchmark(
        run_workers, short=Size(rounds=3, requests=60_000), full=Size(rounds=9, requests=400_000)
    ),
}

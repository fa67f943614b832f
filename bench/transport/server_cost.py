"""Servers on each transport: CPU of a unary call, its latency, and the memory of an idle connection."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench.measure import BenchError, Benchmark, Size, Spread, Subject, choose_cores, pinned, running
from bench.rounds import (
    Bound,
    Burst,
    Contestant,
    ContestRow,
    ContestSample,
    compare,
    cpu_per_call,
    interleave,
    metered,
    row,
)
from bench.transport.contract import message, require
from bench.transport.http2 import idle_connection
from bench.transport.peers import (
    ECHO_SERVERS,
    CallKind,
    ClientProcess,
    EchoName,
    H2load,
    LoadShape,
    available,
    client,
    cpp_client,
    serving,
)
from yais.clients.siege.chaos.h2 import MAX_CONCURRENT_STREAMS

UNARY_SHAPE = LoadShape(connections=4, in_flight=16)
UNARY_BOUNDS: dict[EchoName, Bound] = {"native": Bound("at most", 0.6), "native, raw": Bound("at most", 0.4)}

BODIES_SHAPE = LoadShape(connections=4, in_flight=4)
BODIES_BOUNDS: dict[EchoName, Bound] = {"native": Bound("at most", 1.0), "native, bytes": Bound("at most", 1.0)}

# What a case is called -> its bytes, and its part of the calls of a round.
BODIES = {"150 kB": (150_000, 1.0), "600 kB": (600_000, 1 / 4), "4 MB": (4_000_000, 1 / 30)}

SERIAL = LoadShape(connections=1, in_flight=1)
LATENCY_BOUNDS: dict[EchoName, Bound] = {"native": Bound("at most", 1.0), "native, raw": Bound("at most", 1.0)}

COUNTS = (1, 10, 100, 1_000)
PARTS = {1: 0.25}  # One call at a time takes long.
SCALING_BOUND = Bound("at most", 1.2)
# C++ is there for comparison: it shows what HTTP/2 itself costs with more connections or streams.
JUDGED = ("native", "native, raw")

# How a load of so many calls under way is divided among connections, by the title of the series.
Series = Mapping[str, Mapping[int, LoadShape]]

SERIES: Series = {
    "connections with a stream each": {count: LoadShape(count, 1) for count in COUNTS},
    "streams on a connection": {count: LoadShape(1, count) for count in COUNTS},
}

_SETTLING_S = 0.05

# Connections before the first reading of the memory: they pay for what a server allocates only once.
WARM_UP = 50
IDLE_BOUNDS: dict[EchoName, Bound] = {"native": Bound("at most", 20.0)}


def run_unary(size: Size) -> list[ContestRow]:
    require("h2load")
    with serving(["C++", "grpc.aio", "native", "native, raw"], choose_cores()) as servers:
        contestants = [_unary_contestant(name, server) for name, server in servers.items()]
        return compare("100 B", contestants, size, yardstick="C++")


def _unary_contestant(name: EchoName, server: Subject) -> Contestant:
    load = H2load(server.port, message(100).SerializeToString(), UNARY_SHAPE)
    return Contestant(
        name, cpu_per_call(server, load), ECHO_SERVERS[name].part, UNARY_BOUNDS.get(name), check=load.check
    )


def run_bodies(size: Size) -> list[ContestRow]:
    require("h2load")
    command, cores, rows = cpp_client(), choose_cores(), []
    with serving(["C++", "C++, keeping memory", "native", "native, bytes"], cores) as servers:
        for label, (length, part) in BODIES.items():
            contestants = [_under_h2load(name, server, length, part) for name, server in servers.items()]
            rows += compare(f"{label}, h2load", contestants, size, yardstick="C++")
            with ExitStack() as stack:
                contestants = []
                for name, server in servers.items():
                    load = stack.enter_context(client(command, server, BODIES_SHAPE, length, cores.load))
                    # This client goes on running: unless it is named here, its CPU counts as that of other processes.
                    burst = cpu_per_call(server, partial(load, "Do"), load.subject)
                    contestants.append(Contestant(name, burst, part, BODIES_BOUNDS.get(name)))
                rows += compare(f"{label}, gRPC C++ client", contestants, size, yardstick="C++")
    return rows


def _under_h2load(name: EchoName, server: Subject, length: int, part: float) -> Contestant:
    load = H2load(server.port, message(length).SerializeToString(), BODIES_SHAPE)
    return Contestant(name, cpu_per_call(server, load), part, BODIES_BOUNDS.get(name), check=load.check)


def run_latency(size: Size) -> list[ContestRow]:
    command, cores = cpp_client(), choose_cores()
    with serving(["C++", "grpc.aio", "native", "native, raw"], cores) as servers, ExitStack() as stack:
        contestants = []
        for name, server in servers.items():
            load = stack.enter_context(client(command, server, SERIAL, 100, cores.load))
            contestants.append(Contestant(name, median_latency(server, load, "Do"), bound=LATENCY_BOUNDS.get(name)))
        return compare("100 B, one call at a time", contestants, size, yardstick="C++")


def median_latency(server: Subject, load: ClientProcess, kind: CallKind) -> Burst:
    """A burst whose figure is the median latency of a call, in microseconds."""

    def burst(calls: int) -> ContestSample:
        timing, spent = metered(server, lambda: load(kind, calls), load.subject)
        return ContestSample.of(timing.p50_us, calls, spent)

    return burst


@dataclass(frozen=True, slots=True)
class Scaled:
    """A server under loads of several shapes; `part` is how many of a round's calls it is given."""

    name: str
    server: Subject
    load: Callable[[LoadShape], H2load]
    part: float
    bound: Bound | None

    def rows(self, series: Series, size: Size) -> list[ContestRow]:
        for shapes in series.values():
            _require_streams(self.name, self.server, max(shape.in_flight for shape in shapes.values()))
        return [row for title, shapes in series.items() for row in self._rows(title, shapes, size)]

    def _rows(self, title: str, shapes: Mapping[int, LoadShape], size: Size) -> list[ContestRow]:
        """A case is compared with the cheapest of those before it, so that no growth is hidden in small steps."""
        contestants = [
            Contestant(self.name, _burst(self.server, self.load(shape)), self.part * PARTS.get(count, 1), self.bound)
            for count, shape in shapes.items()
        ]
        rounds = interleave(contestants, size)
        rows: list[ContestRow] = []
        for count, one, samples in zip(shapes, contestants, rounds, strict=True):
            before = min(range(len(rows)), key=lambda index: rows[index].figure.median, default=None)
            against = None if before is None else rounds[before]
            rows.append(row(f"{title}: {count:,}", one, one.calls(size), samples, against))
        return rows


def run_scaling(size: Size) -> list[ContestRow]:
    require("h2load")
    with serving(["C++", "native", "native, raw"], choose_cores()) as servers:
        contestants = [
            Scaled(
                name,
                server,
                load=partial(H2load, server.port, message(100).SerializeToString()),
                part=ECHO_SERVERS[name].part,
                bound=SCALING_BOUND if name in JUDGED else None,
            )
            for name, server in servers.items()
        ]
        return [row for one in contestants for row in one.rows(SERIES, size)]


def _burst(server: Subject, load: H2load) -> Burst:
    """What connecting costs is measured by itself, with one call on each connection, and taken off."""

    def burst(calls: int) -> ContestSample:
        # With as many calls again at least, or else nothing but noise would be left.
        first, calls = load.shape.connections, max(calls, 2 * load.shape.connections)
        _, connecting = metered(server, lambda: _settled(load, first))
        _, whole = metered(server, lambda: _settled(load, calls))
        spent = whole - connecting
        return ContestSample.of(spent.subject * 1e6 / (calls - first), calls - first, spent)

    return burst


def _settled(load: H2load, calls: int) -> None:
    """Waits until the server has closed its ends as well, so that this is counted where it belongs."""
    load(calls)
    time.sleep(_SETTLING_S)


def _require_streams(name: str, server: Subject, count: int) -> None:
    """h2load would quietly keep to fewer."""
    with (connection := idle_connection(server.port)).socket:
        # A server that does not send the setting has no limit.
        if connection.settings.get(MAX_CONCURRENT_STREAMS, count) < count:
            raise BenchError(f"{name} allows fewer than {count:,} streams on a connection")


@dataclass(frozen=True, slots=True)
class IdleRow:
    """`figure` is by how many kilobytes (of 1,000 bytes) the server's resident memory grew for each connection."""

    case: str
    name: str
    figure: Spread
    bound: Bound | None


def run_idle(size: Size) -> list[IdleRow]:
    names: tuple[EchoName, ...] = ("C++", "grpc.aio", "native")
    commands = available({name: ECHO_SERVERS[name].command for name in names})
    rounds = [
        {name: _grown(name, command, size.requests) for name, command in commands.items()} for _ in range(size.rounds)
    ]
    case = f"{size.requests:,} connections"
    return [
        IdleRow(case, name, Spread.of([figures[name] for figures in rounds]), IDLE_BOUNDS.get(name))
        for name in commands
    ]


def _grown(name: str, command: list[str], connections: int) -> float:
    """A fresh server each time: one that had the connections before would give them the same memory again."""
    cores = choose_cores()
    with running(name, command, cores.server) as server, pinned(cores.load), ExitStack() as stack:
        before = 0
        for index in range(WARM_UP + connections):
            if index == WARM_UP:
                before = server.rss()
            stack.enter_context(idle_connection(server.port).socket)
        # All connections are still open.
        return (server.rss() - before) / connections / 1e3


BENCHMARKS = {
    "transport-unary": Benchmark(
        run_unary, short=Size(rounds=3, requests=20_000), full=Size(rounds=9, requests=150_000)
    ),
    "transport-bodies": Benchmark(run_bodies, short=Size(rounds=3, requests=400), full=Size(rounds=5, requests=4_000)),
    "transport-latency": Benchmark(
        run_latency, short=Size(rounds=5, requests=1_000), full=Size(rounds=11, requests=5_000)
    ),
    "transport-scaling": Benchmark(
        run_scaling, short=Size(rounds=2, requests=10_000), full=Size(rounds=5, requests=60_000)
    ),
    # Requests are connections here.
    "transport-idle": Benchmark(run_idle, short=Size(rounds=2, requests=1_000), full=Size(rounds=5, requests=1_000)),
}

"""How the cost of a unary call of 100 bytes changes with the number of connections, and of streams on one."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.measure import BenchError, Size, Subject, choose_cores
from bench.rounds import Bound, Burst, Contestant, Row, Sample, interleave, metered, row
from bench.transport.connections import idle_connection
from bench.transport.contract import message
from bench.transport.loads import H2load, Shape
from bench.transport.peers import PEERS, serving
from bench.transport.programs import require
from yais.clients.siege.chaos.h2 import MAX_CONCURRENT_STREAMS

SHORT = Size(rounds=2, requests=10_000)
FULL = Size(rounds=5, requests=60_000)

COUNTS = (1, 10, 100, 1_000)
PARTS = {1: 0.25}  # One call at a time takes long.
BOUND = Bound("at most", 1.2)
JUDGED = ("native", "native, raw")

# How a load of so many calls under way is divided among connections, by the title of the series.
Series = Mapping[str, Mapping[int, Shape]]

SERIES: Series = {
    "connections with a stream each": {count: Shape(count, 1) for count in COUNTS},
    "streams on a connection": {count: Shape(1, count) for count in COUNTS},
}

_SETTLING_S = 0.05


@dataclass(frozen=True, slots=True)
class Scaled:
    """A server under loads of several shapes; `part` is how many of a round's calls it is given."""

    name: str
    server: Subject
    load: Callable[[Shape], H2load]
    part: float
    bound: Bound | None

    def rows(self, series: Series, size: Size) -> list[Row]:
        for shapes in series.values():
            _require_streams(self.name, self.server, max(shape.in_flight for shape in shapes.values()))
        return [row for title, shapes in series.items() for row in self._rows(title, shapes, size)]

    def _rows(self, title: str, shapes: Mapping[int, Shape], size: Size) -> list[Row]:
        """A case is compared with the cheapest of those before it, so that no growth is hidden in small steps."""
        contestants = [
            Contestant(self.name, _burst(self.server, self.load(shape)), self.part * PARTS.get(count, 1), self.bound)
            for count, shape in shapes.items()
        ]
        rounds = interleave(contestants, size)
        rows: list[Row] = []
        for count, one, samples in zip(shapes, contestants, rounds, strict=True):
            before = min(range(len(rows)), key=lambda index: rows[index].figure.median, default=None)
            against = None if before is None else rounds[before]
            rows.append(row(f"{title}: {count:,}", one, one.calls(size), samples, against))
        return rows


def run(size: Size) -> list[Row]:
    require("h2load")
    with serving(["C++", "native", "native, raw"], choose_cores()) as servers:
        contestants = [
            Scaled(name, server, _load(server), PEERS[name].part, BOUND if name in JUDGED else None)
            for name, server in servers.items()
        ]
        return [row for one in contestants for row in one.rows(SERIES, size)]


def _load(server: Subject) -> Callable[[Shape], H2load]:
    return lambda shape: H2load(server.port, message(100).SerializeToString(), shape)


def _burst(server: Subject, load: H2load) -> Burst:
    """What connecting costs is measured by itself, with one call on each connection, and taken off."""

    def burst(calls: int) -> Sample:
        first, calls = load.shape.connections, max(calls, 2 * load.shape.connections)
        _, connecting = metered(server, lambda: _settled(load, first))
        _, whole = metered(server, lambda: _settled(load, calls))
        spent = whole - connecting
        return Sample.of(spent.subject * 1e6 / (calls - first), calls - first, spent)

    return burst


def _settled(load: H2load, calls: int) -> None:
    """Waits until the server has closed its ends as well, so that this is counted where it belongs."""
    load(calls)
    time.sleep(_SETTLING_S)


def _require_streams(name: str, server: Subject, count: int) -> None:
    """h2load would quietly keep to fewer."""
    with (connection := idle_connection(server.port)).socket:
        if connection.settings.get(MAX_CONCURRENT_STREAMS, count) < count:
            raise BenchError(f"{name} allows fewer than {count:,} streams on a connection")

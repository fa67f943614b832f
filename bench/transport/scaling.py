"""How the cost of a unary call of 100 bytes changes with the number of connections, and of streams on one."""

import time
from collections.abc import Callable

from bench.measure import BenchError, Size, Subject, choose_cores
from bench.transport.contract import message
from bench.transport.h2 import MAX_CONCURRENT_STREAMS, idle_connection
from bench.transport.loads import H2load, Shape
from bench.transport.peers import PEERS, Name, serving
from bench.transport.programs import require
from bench.transport.rounds import Bound, Burst, Contestant, Row, Sample, interleave, metered, row

SHORT = Size(rounds=2, requests=10_000)
FULL = Size(rounds=5, requests=60_000)

COUNTS = (1, 10, 100, 1_000)
PARTS = {1: 0.25}  # One call at a time takes long.
SERIES: dict[str, Callable[[int], Shape]] = {
    "connections with a stream each": lambda count: Shape(count, 1),
    "streams on a connection": lambda count: Shape(1, count),
}
BOUND = Bound("at most", 1.2)
JUDGED = ("native", "native, raw")

_SETTLING_S = 0.05


def run(size: Size) -> list[Row]:
    """A case is compared with the cheapest of those before it in its series, so no growth is hidden in small steps."""
    require("h2load")
    with serving(["C++", "native", "native, raw"], choose_cores()) as servers:
        for name, server in servers.items():
            _require_streams(name, server)
        return [row for name in servers for series in SERIES for row in _series(name, servers[name], series, size)]


def _series(name: Name, server: Subject, series: str, size: Size) -> list[Row]:
    bound = BOUND if name in JUDGED else None
    contestants = [
        Contestant(name, _burst(server, SERIES[series](count)), PEERS[name].part * PARTS.get(count, 1), bound)
        for count in COUNTS
    ]
    rounds = interleave(contestants, size)
    rows: list[Row] = []
    for count, one, samples in zip(COUNTS, contestants, rounds, strict=True):
        before = min(range(len(rows)), key=lambda index: rows[index].figure.median, default=None)
        against = None if before is None else rounds[before]
        rows.append(row(f"{series}: {count:,}", one, one.calls(size), samples, against))
    return rows


def _burst(server: Subject, shape: Shape) -> Burst:
    """What connecting costs is measured by itself, with one call on each connection, and taken off."""
    load = H2load(server.port, message(100).SerializeToString(), shape)

    def burst(calls: int) -> Sample:
        first, calls = shape.connections, max(calls, 2 * shape.connections)
        _, connecting = metered(server, lambda: _settled(load, first))
        _, whole = metered(server, lambda: _settled(load, calls))
        spent = whole - connecting
        return Sample.of(spent.subject * 1e6 / (calls - first), calls - first, spent)

    return burst


def _settled(load: H2load, calls: int) -> None:
    """Waits until the server has closed its ends as well, so that this is counted where it belongs."""
    load(calls)
    time.sleep(_SETTLING_S)


def _require_streams(name: str, server: Subject) -> None:
    """h2load would quietly keep to fewer."""
    with (connection := idle_connection(server.port)).socket:
        if connection.settings.get(MAX_CONCURRENT_STREAMS, max(COUNTS)) < max(COUNTS):
            raise BenchError(f"{name} allows fewer than {max(COUNTS):,} streams on a connection")

"""How the cost of a request to the whole service changes with the number of connections, and of requests in flight."""

from functools import partial

from bench.measure import Size, choose_cores
from bench.rounds import Bound, Row
from bench.service.peers import PEERS, serving
from bench.service.questions import Model
from bench.transport.loads import Shape
from bench.transport.programs import require
from bench.transport.server_cost import COUNTS, Scaled, Series

SHORT = Size(rounds=2, requests=10_000)
FULL = Size(rounds=5, requests=60_000)

MODEL = Model("identity", (16,))
# Of 1,024 that may wait, so that none is refused.
OVER_TEN = (1, 10, 102)
SERIES: Series = {
    "connections with a request each": {count: Shape(count, 1) for count in COUNTS},
    "requests in flight on a connection": {count: Shape(1, count) for count in COUNTS},
    "requests in flight over 10 connections": {10 * count: Shape(10, count) for count in OVER_TEN},
}
BOUND = Bound("at most", 1.25)


def run(size: Size) -> list[Row]:
    """C++ is beside it to show what HTTP/2 itself costs more with many connections or streams."""
    require("h2load")
    with serving(("YAIS", "C++"), choose_cores()) as servers:
        contestants = [
            Scaled(name, server, partial(PEERS[name].question(MODEL).load, server.port), PEERS[name].part, bound)
            for (name, server), bound in zip(servers.items(), (BOUND, None), strict=False)
        ]
        return [row for one in contestants for row in one.rows(SERIES, size)]

"""CPU that a server takes for a unary call with a large body, under h2load and under gRPC's own C++ client."""

from contextlib import ExitStack
from functools import partial

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Bound, Contestant, Row, compare, cpu_per_call
from bench.transport.contract import message
from bench.transport.loads import H2load, Shape, client, cpp_client
from bench.transport.peers import Name, serving
from bench.transport.programs import require

SHORT = Size(rounds=3, requests=400)
FULL = Size(rounds=5, requests=4_000)

SHAPE = Shape(connections=4, in_flight=4)
BOUNDS: dict[Name, Bound] = {"native": Bound("at most", 1.0), "native, bytes": Bound("at most", 1.0)}

# What a case is called -> its bytes, and its part of the calls of a round.
BODIES = {"150 kB": (150_000, 1.0), "600 kB": (600_000, 1 / 4), "4 MB": (4_000_000, 1 / 30)}


def run(size: Size) -> list[Row]:
    require("h2load")
    command, cores, rows = cpp_client(), choose_cores(), []
    with serving(["C++", "C++, keeping memory", "native", "native, bytes"], cores) as servers:
        for label, (length, part) in BODIES.items():
            contestants = [_under_h2load(name, server, length, part) for name, server in servers.items()]
            rows += compare(f"{label}, h2load", contestants, size, yardstick="C++")
            with ExitStack() as stack:
                contestants = []
                for name, server in servers.items():
                    load = stack.enter_context(client(command, server, SHAPE, length, cores.load))
                    burst = cpu_per_call(server, partial(load, "Do"), load.subject)
                    contestants.append(Contestant(name, burst, part, BOUNDS.get(name)))
                rows += compare(f"{label}, gRPC C++ client", contestants, size, yardstick="C++")
    return rows


def _under_h2load(name: Name, server: Subject, length: int, part: float) -> Contestant:
    load = H2load(server.port, message(length).SerializeToString(), SHAPE)
    return Contestant(name, cpu_per_call(server, load), part, BOUNDS.get(name), check=load.check)

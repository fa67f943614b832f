"""CPU that a client takes for a unary call of 100 bytes to the C++ server, and how many a second it makes."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Bound, Contestant, Row, Sample, compare, cpu_per_call, metered
from bench.transport.contract import message
from bench.transport.loads import H2load, Shape, client, cpp_client, python_client
from bench.transport.peers import available, require_native, serving
from bench.transport.programs import program, require

SHORT = Size(rounds=3, requests=10_000)
FULL = Size(rounds=7, requests=80_000)

# More calls are under way than under the servers, so that the C++ server, with one core, keeps up.
SHAPE = Shape(connections=4, in_flight=64)
YARDSTICK = "h2load"


def run(size: Size) -> list[Row]:
    require("h2load")
    program("server")
    cores = choose_cores()
    with serving(["C++"], cores) as servers, ExitStack() as stack:
        server = servers["C++"]
        contestants = [h2load(server)]
        for name, command in available(CLIENTS).items():
            load = stack.enter_context(client(command, server, SHAPE, 100, cores.load))
            burst = cpu_per_call(load.subject, partial(load, "Do"), server)
            contestants.append(Contestant(name, burst, PARTS.get(name, 1), BOUNDS.get(name), LEAST_RATES.get(name)))
        return compare("100 B", contestants, size, YARDSTICK)


def _native(raw: bool) -> list[str]:
    require_native()
    return python_client("native", raw)


CLIENTS: dict[str, Callable[[], list[str]]] = {
    "C++": cpp_client,
    "grpc.aio": lambda: python_client("grpcio"),
    "native": lambda: _native(raw=False),
    "native, raw": lambda: _native(raw=True),
}
PARTS = {"grpc.aio": 0.1}
BOUNDS = {"native": Bound("at most", 4.0), "native, raw": Bound("at most", 4.0)}
LEAST_RATES = {"native, raw": 40_000.0}


def h2load(server: Subject) -> Contestant:
    """h2load is run anew for each burst, so its CPU is that of this process and of the programs that it saw end."""
    load = H2load(server.port, message(100).SerializeToString(), SHAPE)

    def burst(calls: int) -> Sample:
        _, spent = metered(server, lambda: load(calls))
        return Sample(spent.load * 1e6 / calls, calls / spent.seconds, spent.load / spent.seconds, spent.others_share)

    return Contestant(YARDSTICK, burst, check=load.check)

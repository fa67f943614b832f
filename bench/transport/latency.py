"""Latency of one call after the other, by one and the same client."""

from contextlib import ExitStack

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Bound, Burst, Contestant, Row, Sample, compare, metered
from bench.transport.loads import Client, Kind, Shape, client, cpp_client
from bench.transport.peers import Name, serving

SHORT = Size(rounds=5, requests=1_000)
FULL = Size(rounds=11, requests=5_000)

SERIAL = Shape(connections=1, in_flight=1)
BOUNDS: dict[Name, Bound] = {"native": Bound("at most", 1.0), "native, raw": Bound("at most", 1.0)}


def run(size: Size) -> list[Row]:
    command, cores = cpp_client(), choose_cores()
    with serving(["C++", "grpc.aio", "native", "native, raw"], cores) as servers, ExitStack() as stack:
        contestants = []
        for name, server in servers.items():
            load = stack.enter_context(client(command, server, SERIAL, 100, cores.load))
            contestants.append(Contestant(name, median_latency(server, load, "Do"), bound=BOUNDS.get(name)))
        return compare("100 B, one call at a time", contestants, size, yardstick="C++")


def median_latency(server: Subject, load: Client, kind: Kind) -> Burst:
    """A burst whose figure is the median latency of a call, in microseconds."""

    def burst(calls: int) -> Sample:
        timing, spent = metered(server, lambda: load(kind, calls), load.subject)
        return Sample.of(timing.p50_us, calls, spent)

    return burst

"""How many requests a second one process of siege sends, in a closed loop, and the CPU that it takes for one."""

from contextlib import ExitStack
from functools import partial

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Burst, Contestant, Row, Sample, compare, cpu_per_call, metered
from bench.siege.command import besiege
from bench.transport.client_cost import SHAPE, YARDSTICK, h2load
from bench.transport.loads import client, cpp_client, python_client
from bench.transport.peers import available, require_native, serving
from bench.transport.programs import require

SHORT = Size(rounds=2, requests=20_000)
FULL = Size(rounds=7, requests=200_000)

TARGET = 40_000.0  # Requests a second.

_CLIENTS = {"C++ client": cpp_client, "native, raw": lambda: python_client("native", raw=True)}


def run(size: Size) -> list[Row]:
    require("h2load")
    require_native()
    cores = choose_cores()
    with serving(["native, bytes"], cores) as servers, ExitStack() as stack:
        server = servers["native, bytes"]
        contestants = [h2load(server)]
        for name, command in available(_CLIENTS).items():
            load = stack.enter_context(client(command, server, SHAPE, 100, cores.load))
            contestants.append(Contestant(name, cpu_per_call(load.subject, partial(load, "Do"), server)))
        contestants.append(Contestant("siege", _siege(server, "native"), least_rate=TARGET))
        contestants.append(Contestant("siege, grpcio", _siege(server, "grpcio"), part=0.05))
        return compare("100 B, 4 x 64 in flight", contestants, size, YARDSTICK)


def _siege(server: Subject, transport: str) -> Burst:
    """What siege says of itself, from its first request to its last answer: without its start."""
    in_flight = SHAPE.connections * SHAPE.in_flight
    shape = ("--concurrency", str(in_flight), "--connections", str(SHAPE.connections), "--transport", transport)

    def burst(calls: int) -> Sample:
        report, spent = metered(server, lambda: besiege(server.port, *shape, "--count", str(calls)))
        busy = sum(report.info.cpu)
        return Sample(busy * 1e6 / report.rate_answered, report.rate_answered, busy, spent.others_share)

    return burst

"""CPU that a server takes for a unary call of 100 bytes, under a load that comes in bunches."""

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Bound, Contestant, Row, compare, cpu_per_call
from bench.transport.contract import message
from bench.transport.loads import H2load, Shape
from bench.transport.peers import PEERS, Name, serving
from bench.transport.programs import require

SHORT = Size(rounds=3, requests=20_000)
FULL = Size(rounds=9, requests=150_000)

SHAPE = Shape(connections=4, in_flight=16)
BOUNDS: dict[Name, Bound] = {"native": Bound("at most", 0.6), "native, raw": Bound("at most", 0.4)}


def run(size: Size) -> list[Row]:
    require("h2load")
    with serving(["C++", "grpc.aio", "native", "native, raw"], choose_cores()) as servers:
        contestants = [_contestant(name, server) for name, server in servers.items()]
        return compare("100 B", contestants, size, yardstick="C++")


def _contestant(name: Name, server: Subject) -> Contestant:
    load = H2load(server.port, message(100).SerializeToString(), SHAPE)
    return Contestant(name, cpu_per_call(server, load), PEERS[name].part, BOUNDS.get(name), check=load.check)

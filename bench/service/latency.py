"""Latency of one request after the other, by one and the same C++ client."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.measure import Cores, Size, Subject, choose_cores
from bench.rounds import Bound, Contestant, Row, compare
from bench.service.peers import PEERS, YARDSTICK, Name, serving
from bench.service.questions import Model
from bench.transport.latency import SERIAL, median_latency
from bench.transport.loads import caller

SHORT = Size(rounds=5, requests=1_000)
FULL = Size(rounds=11, requests=5_000)

NAMES: tuple[Name, ...] = (
    "C++",
    "YAIS",
    "YAIS, grpcio",
    "grpc.aio",
    "Triton, C++ backend",
    "Triton, Python backend",
    "MLServer",
)
MODEL = Model("identity", (16,))
BOUNDS: dict[Name, Bound] = {"YAIS": Bound("at most", 1.3)}


def run(size: Size) -> list[Row]:
    cores = choose_cores()
    with serving(NAMES, cores) as servers, ExitStack() as stack:
        contestants = [stack.enter_context(_contestant(name, server, cores)) for name, server in servers.items()]
        return compare("identity, 16 floats, one at a time", contestants, size, YARDSTICK)


@contextmanager
def _contestant(name: Name, server: Subject, cores: Cores) -> Iterator[Contestant]:
    """Its client compares all answers with the first, and `check` one with what is right."""
    question = PEERS[name].question(MODEL)
    with caller(server, question.method, question.message, SERIAL, cores.load) as load:
        burst = median_latency(server, load, "Call")
        yield Contestant(name, burst, bound=BOUNDS.get(name), check=lambda: question.verify(server.port))

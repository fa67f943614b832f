"""CPU that the whole service takes for a request, with its metrics on, beside its peers."""

from dataclasses import dataclass

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Bound, Contestant, Row, compare, cpu_per_call
from bench.service.peers import PEERS, YARDSTICK, Name, serving
from bench.service.questions import Model
from bench.transport.loads import Shape
from bench.transport.programs import require

SHORT = Size(rounds=3, requests=10_000)
FULL = Size(rounds=7, requests=80_000)

SHAPE = Shape(connections=4, in_flight=8)


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked and how, its part of a round's requests, and the most that YAIS may take of what C++ does."""

    name: str
    model: Model
    shape: Shape = SHAPE
    part: float = 1
    bound: float = 1.0
    absent: tuple[Name, ...] = ("C++, keeping memory",)  # It differs from C++ with large messages alone.


CASES = (
    Case("identity, 16 floats", Model("identity", (16,))),
    Case("identity, 1,024 floats", Model("identity", (1_024,))),
    Case("mlp, batch 1, 4 x 8 in flight", Model("mlp", (1, 64))),
    Case("mlp, batch 1, 8 x 8 in flight", Model("mlp", (1, 64)), Shape(connections=8, in_flight=8)),
    Case("identity, 150,528 floats", Model("identity", (150_528,)), part=1 / 20, bound=0.8, absent=()),
)


def run(size: Size) -> list[Row]:
    require("h2load")
    with serving(tuple(PEERS), choose_cores()) as servers:
        return [row for case in CASES for row in _rows(case, servers, size)]


def _rows(case: Case, servers: dict[Name, Subject], size: Size) -> list[Row]:
    taking_part = [name for name in servers if case.model.name in PEERS[name].models and name not in case.absent]
    contestants = [_contestant(name, servers[name], case) for name in taking_part]
    return compare(case.name, contestants, size, YARDSTICK)


def _contestant(name: Name, server: Subject, case: Case) -> Contestant:
    bound = Bound("at most", case.bound) if name == "YAIS" else None
    return contestant(name, server, case.model, case.shape, case.part, bound)


def contestant(
    name: Name, server: Subject, model: Model, shape: Shape, part: float = 1, bound: Bound | None = None
) -> Contestant:
    """A server under h2load, whose answer is checked before and after."""
    peer = PEERS[name]
    question = peer.question(model)
    load = question.load(server.port, shape)
    burst = cpu_per_call(server, load)
    return Contestant(name, burst, peer.part * part, bound, check=lambda: question.verify(server.port))

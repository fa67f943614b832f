"""How many requests a server answers a second, and what each costs it, by how many are under way at a time."""

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Row, compare
from bench.service.cost import contestant
from bench.service.peers import YARDSTICK, Name, serving
from bench.service.questions import Model
from bench.transport.loads import Shape
from bench.transport.programs import require

SHORT = Size(rounds=2, requests=8_000)
FULL = Size(rounds=5, requests=60_000)

NAMES: tuple[Name, ...] = ("C++", "YAIS", "Triton, C++ backend", "Triton, Python backend")
MODELS = {"16 floats": Model("identity", (16,)), "1,024 floats": Model("identity", (1_024,))}
CONNECTIONS = 4
COUNTS = (1, 4, 16, 64, 256)
PARTS = {1: 0.25}  # One at a time takes long.


def run(size: Size) -> list[Row]:
    require("h2load")
    with serving(NAMES, choose_cores()) as servers:
        return [row for title in MODELS for count in COUNTS for row in _rows(title, count, servers, size)]


def _rows(title: str, count: int, servers: dict[Name, Subject], size: Size) -> list[Row]:
    connections = min(CONNECTIONS, count)
    shape, part = Shape(connections, count // connections), PARTS.get(count, 1)
    contestants = [contestant(name, server, MODELS[title], shape, part) for name, server in servers.items()]
    return compare(f"requests of {title} in flight: {count}", contestants, size, YARDSTICK)

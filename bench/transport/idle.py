"""Memory that a server holds for a connection on which nothing happens."""

from contextlib import ExitStack
from dataclasses import dataclass

from bench.measure import Size, Spread, choose_cores, pinned, running
from bench.rounds import Bound
from bench.transport.connections import idle_connection
from bench.transport.peers import PEERS, Name, available

# Requests are connections here.
SHORT = Size(rounds=2, requests=1_000)
FULL = Size(rounds=5, requests=1_000)

WARM_UP = 50
BOUNDS: dict[Name, Bound] = {"native": Bound("at most", 20.0)}


@dataclass(frozen=True, slots=True)
class Row:
    """`figure` is by how many kilobytes (of 1,000 bytes) the server's resident memory grew for each connection."""

    case: str
    name: str
    figure: Spread
    bound: Bound | None


def run(size: Size) -> list[Row]:
    names: tuple[Name, ...] = ("C++", "grpc.aio", "native")
    commands = available({name: PEERS[name].command for name in names})
    rounds = [
        {name: _grown(name, command, size.requests) for name, command in commands.items()} for _ in range(size.rounds)
    ]
    case = f"{size.requests:,} connections"
    return [Row(case, name, Spread.of([figures[name] for figures in rounds]), BOUNDS.get(name)) for name in commands]


def _grown(name: str, command: list[str], connections: int) -> float:
    """A fresh server each time: one that had the connections before would give them the same memory again."""
    cores = choose_cores()
    with running(name, command, cores.server) as server, pinned(cores.load), ExitStack() as stack:
        before = 0
        for index in range(WARM_UP + connections):
            if index == WARM_UP:
                before = server.rss()
            stack.enter_context(idle_connection(server.port).socket)
        return (server.rss() - before) / connections / 1e3

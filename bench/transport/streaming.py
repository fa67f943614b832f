"""Messages of 100 bytes that a CPU second carries through streams, at the server's end and at the client's."""

from collections.abc import Sequence
from contextlib import ExitStack

from bench.measure import Size, Subject, choose_cores
from bench.rounds import Bound, Burst, Contestant, Row, Sample, compare, metered
from bench.transport.client_cost import CLIENTS
from bench.transport.loads import Client, Kind, Shape, client, cpp_client
from bench.transport.peers import available, serving
from bench.transport.programs import program

# Requests are streams here.
SHORT = Size(rounds=3, requests=160)
FULL = Size(rounds=5, requests=800)

SHAPE = Shape(connections=4, in_flight=4)
MESSAGES = 200  # Of a stream.
KINDS: dict[Kind, str] = {"Expand": "server streaming", "Collect": "client streaming", "Chat": "ping-pong"}
PARTS = {"grpc.aio": 0.1, "C++": 0.5}
YARDSTICK = "grpc.aio"
BOUNDS = {"native": Bound("at least", 3.0)}


def run(size: Size) -> list[Row]:
    return [*_servers(size), *_clients(size)]


def _servers(size: Size) -> list[Row]:
    """Each server under the C++ client."""
    command, cores = cpp_client(), choose_cores()
    with serving(["C++", "grpc.aio", "native"], cores) as servers, ExitStack() as stack:
        loads = {name: stack.enter_context(client(command, servers[name], SHAPE, 100, cores.load)) for name in servers}
        return _compare("server", size, [(name, servers[name], loads[name].subject, loads[name]) for name in servers])


def _clients(size: Size) -> list[Row]:
    """Each client against the C++ server."""
    program("server")
    cores = choose_cores()
    with serving(["C++"], cores) as servers, ExitStack() as stack:
        server = servers["C++"]
        commands = available({name: CLIENTS[name] for name in ("C++", "grpc.aio", "native")})
        loads = {
            name: stack.enter_context(client(command, server, SHAPE, 100, cores.load))
            for name, command in commands.items()
        }
        return _compare("client", size, [(name, load.subject, server, load) for name, load in loads.items()])


def _compare(end: str, size: Size, ends: Sequence[tuple[str, Subject, Subject, Client]]) -> list[Row]:
    """`ends` are a name, whose CPU counts, who is at the other end, and the client among them."""
    rows = []
    for kind, title in KINDS.items():
        contestants = [
            Contestant(name, _messages(kind, subject, other, load), PARTS.get(name, 1), BOUNDS.get(name))
            for name, subject, other, load in ends
        ]
        rows += compare(f"{end}, {title}", contestants, size, YARDSTICK)
    return rows


def _messages(kind: Kind, subject: Subject, other_end: Subject, load: Client) -> Burst:
    """Counts messages, and of ping-pong one for each way and back."""

    def burst(calls: int) -> Sample:
        _, spent = metered(subject, lambda: load(kind, calls, MESSAGES), other_end)
        return Sample.of(calls * MESSAGES / spent.subject, calls * MESSAGES, spent)

    return burst

"""Clients on each transport: CPU of a unary call to the C++ server, and messages of streams at both ends."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from bench.measure import Benchmark, Size, Subject, choose_cores
from bench.rounds import Bound, Burst, Contestant, ContestRow, ContestSample, compare, cpu_per_call, metered
from bench.transport.contract import message, program, require
from bench.transport.peers import (
    CallKind,
    ClientProcess,
    H2load,
    LoadShape,
    available,
    client,
    cpp_client,
    python_client,
    require_native,
    serving,
)

# More calls are under way than under the servers, so that the C++ server, with one core, keeps up.
CLIENTS_SHAPE = LoadShape(connections=4, in_flight=64)
CLIENTS_YARDSTICK = "h2load"

# A slow client makes fewer calls, so that a round does not last for it alone.
CLIENTS_PARTS = {"grpc.aio": 0.1}
CLIENTS_BOUNDS = {"native": Bound("at most", 4.0), "native, raw": Bound("at most", 4.0)}
CLIENTS_LEAST_RATES = {"native, raw": 40_000.0}

STREAMS_SHAPE = LoadShape(connections=4, in_flight=4)
MESSAGES = 200  # Of a stream.
STREAM_KINDS: dict[CallKind, str] = {"Expand": "server streaming", "Collect": "client streaming", "Chat": "ping-pong"}
STREAMS_PARTS = {"grpc.aio": 0.1, "C++": 0.5}
STREAMS_YARDSTICK = "grpc.aio"
# On messages a CPU second: more is better.
STREAMS_BOUNDS = {"native": Bound("at least", 3.0)}


def run_clients(size: Size) -> list[ContestRow]:
    require("h2load")
    # Says why where it cannot be compiled; `serving` would go on without it, and nothing could be measured.
    program("server")
    cores = choose_cores()
    with serving(["C++"], cores) as servers, ExitStack() as stack:
        server = servers["C++"]
        contestants = [h2load(server)]
        for name, command in available(CLIENTS).items():
            load = stack.enter_context(client(command, server, CLIENTS_SHAPE, 100, cores.load))
            burst = cpu_per_call(load.subject, partial(load, "Do"), server)
            contestants.append(
                Contestant(
                    name, burst, CLIENTS_PARTS.get(name, 1), CLIENTS_BOUNDS.get(name), CLIENTS_LEAST_RATES.get(name)
                )
            )
        return compare("100 B", contestants, size, CLIENTS_YARDSTICK)


def _native_client(raw: bool) -> list[str]:
    require_native()
    return python_client("native", raw)


CLIENTS: dict[str, Callable[[], list[str]]] = {
    "C++": cpp_client,
    "grpc.aio": lambda: python_client("grpcio"),
    "native": lambda: _native_client(raw=False),
    "native, raw": lambda: _native_client(raw=True),
}


def h2load(server: Subject) -> Contestant:
    """h2load is run anew for each burst, so its CPU is that of this process and of the programs that it saw end."""
    load = H2load(server.port, message(100).SerializeToString(), CLIENTS_SHAPE)

    def burst(calls: int) -> ContestSample:
        _, spent = metered(server, lambda: load(calls))
        return ContestSample(
            spent.load * 1e6 / calls, calls / spent.seconds, spent.load / spent.seconds, spent.others_share
        )

    return Contestant(CLIENTS_YARDSTICK, burst, check=load.check)


def run_streaming(size: Size) -> list[ContestRow]:
    return [*_stream_servers(size), *_stream_clients(size)]


def _stream_servers(size: Size) -> list[ContestRow]:
    """Each server under the C++ client."""
    command, cores = cpp_client(), choose_cores()
    with serving(["C++", "grpc.aio", "native"], cores) as servers, ExitStack() as stack:
        loads = {
            name: stack.enter_context(client(command, servers[name], STREAMS_SHAPE, 100, cores.load))
            for name in servers
        }
        return _compare_kinds(
            "server", size, [(name, servers[name], loads[name].subject, loads[name]) for name in servers]
        )


def _stream_clients(size: Size) -> list[ContestRow]:
    """Each client against the C++ server."""
    program("server")
    cores = choose_cores()
    with serving(["C++"], cores) as servers, ExitStack() as stack:
        server = servers["C++"]
        commands = available({name: CLIENTS[name] for name in ("C++", "grpc.aio", "native")})
        loads = {
            name: stack.enter_context(client(command, server, STREAMS_SHAPE, 100, cores.load))
            for name, command in commands.items()
        }
        return _compare_kinds("client", size, [(name, load.subject, server, load) for name, load in loads.items()])


def _compare_kinds(
    end: str, size: Size, ends: Sequence[tuple[str, Subject, Subject, ClientProcess]]
) -> list[ContestRow]:
    """`ends` are a name, whose CPU counts, who is at the other end, and the client among them."""
    rows = []
    for kind, title in STREAM_KINDS.items():
        contestants = [
            Contestant(
                name, _messages(kind, subject, other, load), STREAMS_PARTS.get(name, 1), STREAMS_BOUNDS.get(name)
            )
            for name, subject, other, load in ends
        ]
        rows += compare(f"{end}, {title}", contestants, size, STREAMS_YARDSTICK)
    return rows


def _messages(kind: CallKind, subject: Subject, other_end: Subject, load: ClientProcess) -> Burst:
    """Counts messages, and of ping-pong one for each way and back."""

    def burst(calls: int) -> ContestSample:
        _, spent = metered(subject, lambda: load(kind, calls, MESSAGES), other_end)
        return ContestSample.of(calls * MESSAGES / spent.subject, calls * MESSAGES, spent)

    return burst


BENCHMARKS = {
    "transport-clients": Benchmark(
        run_clients, short=Size(rounds=3, requests=10_000), full=Size(rounds=7, requests=80_000)
    ),
    # Requests are streams here.
    "transport-streaming": Benchmark(
        run_streaming, short=Size(rounds=3, requests=160), full=Size(rounds=5, requests=800)
    ),
}

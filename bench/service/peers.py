"""The servers that are compared, as many of them as can run here."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench.measure import Cores, Subject, engine, free_port, launched, pinned, yais
from bench.service.mlserver import mlserver
from bench.service.questions import Model, Question, echo, infer, reflect, wait_until_answered
from bench.service.servers import triton
from bench.transport.peers import PEERS as TRANSPORTS
from bench.transport.peers import available

Name = Literal[
    "C++",
    "C++, keeping memory",
    "YAIS",
    "YAIS, grpcio",
    "grpc.aio",
    "Triton, C++ backend",
    "Triton, Python backend",
    "MLServer",
]

YARDSTICK: Name = "C++"

_MODELS = ("identity", "mlp")


@dataclass(frozen=True, slots=True)
class Peer:
    """A server: its command for a port, which raises `NotInstalledError` where it cannot run, and what to ask of it.

    `part` is that of a round's requests: it keeps the rounds of a slow server from taking all the time there is.
    """

    command: Callable[[int], list[str]]
    question: Callable[[Model], Question] = infer
    part: float = 1
    models: tuple[str, ...] = _MODELS


def _yais(port: int, *flags: str) -> list[str]:
    return [*yais(*map(engine, _MODELS), port=port), *flags]


def _echo(name: Literal["C++", "C++, keeping memory"], port: int) -> list[str]:
    return [*TRANSPORTS[name].command(), str(port)]


PEERS: dict[Name, Peer] = {
    "C++": Peer(partial(_echo, "C++"), echo),
    "C++, keeping memory": Peer(partial(_echo, "C++, keeping memory"), echo),
    "YAIS": Peer(_yais),
    "YAIS, grpcio": Peer(lambda port: _yais(port, "--transport", "grpcio"), part=0.1),
    "grpc.aio": Peer(lambda port: [sys.executable, "-m", "bench.service.aio_echo", str(port)], reflect, part=0.1),
    "Triton, C++ backend": Peer(lambda port: triton(port, "bare", _MODELS), part=0.3),
    "Triton, Python backend": Peer(lambda port: triton(port, "python", _MODELS), part=0.1),
    "MLServer": Peer(mlserver, part=0.04, models=("identity",)),
}


@contextmanager
def serving(names: Sequence[Name], cores: Cores) -> Iterator[dict[Name, Subject]]:
    """All of the servers that can run here, on their core, while this process keeps to the load's."""
    ports = {name: free_port() for name in names}
    with ExitStack() as stack:
        commands = available({name: partial(PEERS[name].command, ports[name]) for name in names})
        stack.enter_context(pinned(cores.load))
        yield {
            name: stack.enter_context(_served(name, command, ports[name], cores.server))
            for name, command in commands.items()
        }


@contextmanager
def _served(name: Name, command: list[str], port: int, core: int) -> Iterator[Subject]:
    """A server that has answered."""
    with launched(name, command, core, heard=False) as child:
        wait_until_answered(child, port, [PEERS[name].question(Model("identity", (1,)))])
        yield child.subject(port)

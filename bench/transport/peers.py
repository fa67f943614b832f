"""The servers that are compared, as many of them as can run here."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import click

from bench.measure import Cores, NotInstalledError, Subject, pinned, running
from bench.transport.contract import contract, interface
from bench.transport.programs import program

Key = TypeVar("Key", bound=str)
Name = Literal["C++", "C++, keeping memory", "grpc.aio", "native", "native, raw", "native, bytes"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A server's command, which raises `NotInstalledError` where it cannot run, and its part of the calls of a round.

    The part keeps the rounds of a slow server from taking all the time there is; cost is counted by the call.
    """

    command: Callable[[], list[str]]
    part: float = 1


def _cpp() -> list[str]:
    return [str(program("server"))]


def _cpp_keeping_memory() -> list[str]:
    """What `yais.transport.keep_freed` does, in the words of glibc's environment."""
    return ["env", "MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=134217728", *_cpp()]


def _grpcio() -> list[str]:
    contract()
    return _python("--transport", "grpcio")


def _native(*arguments: str) -> list[str]:
    require_native()
    return _python("--transport", "native", *arguments)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.transport.echo", *arguments]


PEERS: dict[Name, Peer] = {
    "C++": Peer(_cpp, part=0.4),
    "C++, keeping memory": Peer(_cpp_keeping_memory, part=0.4),
    "grpc.aio": Peer(_grpcio, part=0.05),
    "native": Peer(_native),
    "native, raw": Peer(lambda: _native("--raw", "parsed")),
    "native, bytes": Peer(lambda: _native("--raw", "bytes")),
}


def require_native() -> None:
    """Raises `NotInstalledError` when the native transport is not built."""
    contract()
    try:
        interface("native")
    except ImportError as error:
        raise NotInstalledError(f"yais.transport is not built: {error}") from None


@contextmanager
def serving(names: Sequence[Name], cores: Cores) -> Iterator[dict[Name, Subject]]:
    """All of the servers that can run here, on their core, while this process keeps to the load's."""
    with ExitStack() as stack:
        commands = available({name: PEERS[name].command for name in names})
        servers = {name: stack.enter_context(running(name, commands[name], cores.server)) for name in commands}
        stack.enter_context(pinned(cores.load))
        yield servers


def available(commands: dict[Key, Callable[[], list[str]]]) -> dict[Key, list[str]]:
    """Those commands that can be run; who cannot is told of with the reason."""
    found = {}
    for name, command in commands.items():
        try:
            found[name] = command()
        except NotInstalledError as missing:
            click.echo(f"  without {name}: {missing}", err=True)
    return found

"""Where siege can be asked how it goes, as an option."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_LOCAL = "127.0.0.1"
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A host to listen on, and a port, 0 for any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Raises ValueError for what is neither PORT nor HOST:PORT."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else _LOCAL
    if not host or not port.isdecimal() or (":" in host and not text.startswith("[")):
        raise ValueError(f"{text!r} is not PORT or HOST:PORT, where an IPv6 host stands in brackets")
    if int(port) > _HIGHEST_PORT:
        raise ValueError(f"port {port} is above {_HIGHEST_PORT}")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{host!r} is no name of a host") from None
    return Address(host, int(port))


class AddressType(click.ParamType[Address]):
    """An address as `parse_address` reads it."""

    name = "address"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


def metrics_option(command: Command) -> Command:
    """Adds `--metrics` to a command, which gets it as `metrics`."""
    return click.option(
        "--metrics",
        type=AddressType(),
        metavar="PORT|HOST:PORT",
        help="Answer Prometheus there at /metrics while siege runs; a PORT alone is on 127.0.0.1, 0 is any free one.",
    )(command)

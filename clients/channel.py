"""Channels: where to call, as gRPC spells it, and the options of every channel.

Source: gRPC's naming.md for the forms. `transport.address` reads the same ones, but is of a package whose import loads
the extension modules, which may not be there; a test holds the two together.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import unquote

# naming.md: 443 where no port is given, although some implementations take 80 without TLS.
_DEFAULT_PORT = 443
_FORMS = "host:port, dns:///host:port, ipv4:address:port,..., ipv6:[address]:port,... or unix:path"
_PAIR = re.compile(r"(?:\[(?P<v6>[^]]+)]|(?P<host>[^]\s\0:/?#@,[]+))(?::(?P<port>[0-9]{1,5}))?")

# Bytes. By default gRPC receives at most 4 MiB a message.
_UNLIMITED = 2**31 - 1

_DEFAULTS: Mapping[str, Any] = {
    "grpc.max_receive_message_length": _UNLIMITED,
    "grpc.max_send_message_length": _UNLIMITED,
}


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host's name, or an IP address without brackets, and the port."""

    host: str
    port: int

    def __str__(self) -> str:
        return join_address(self.host, self.port)


@dataclass(frozen=True, slots=True)
class ParsedTarget:
    """`text` is what was given. What to call are its `addresses`, each a target of its own, or all those of its `name`.

    A plain host:port is one address: of those that the host has, whichever answers first.
    """

    text: str
    addresses: tuple[str, ...] = ()
    name: HostPort | None = None

    @property
    def is_spread(self) -> bool:
        """Whether it may lead to several servers."""
        return self.name is not None or len(self.addresses) > 1

    @property
    def server(self) -> HostPort:
        """The only one. Raises ValueError, with the text in it, where there may be several, or a Unix socket is."""
        try:
            (only,) = self.addresses
            return HostPort(*_split_address(only))
        except ValueError:
            raise ValueError(f"{self.text!r} is not the host:port of one server") from None


def join_address(host: str, port: int) -> str:
    """A host, or an IP address without brackets, with its port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_target(text: str) -> ParsedTarget:
    """Raises ValueError, with the text in it, unless it has one of gRPC's forms."""
    scheme, _, rest = text.partition(":")
    # What stands before a colon need not be a scheme: it is the host in `localhost:50051`.
    parse = _SCHEMES.get(scheme.lower())
    try:
        if parse:
            return parse(text, _decode_path(rest))
        _split_address(text)
        return ParsedTarget(text, (text,))
    except ValueError as error:
        raise ValueError(f"{text!r} is no target for gRPC: {error}") from None


def _parse_dns(text: str, path: str) -> ParsedTarget:
    # `dns:host` and `dns:///host` are the same; the path of the second begins with a slash.
    return ParsedTarget(text, name=HostPort(*_split_address(path.removeprefix("/"))))


def _parse_unix(text: str, path: str) -> ParsedTarget:
    if not path or "\0" in path:
        raise ValueError("a Unix socket needs a path, or a name, without NUL")
    return ParsedTarget(text, (text,))


_SCHEMES: dict[str, Callable[[str, str], ParsedTarget]] = {
    "dns": _parse_dns,
    "ipv4": lambda text, path: _parse_ip(text, path, IPv4Address),
    "ipv6": lambda text, path: _parse_ip(text, path, IPv6Address),
    "unix": _parse_unix,
    "unix-abstract": _parse_unix,
}


def channel_options(overrides: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """The channel arguments: the defaults, with `overrides` over them."""
    return list({**_DEFAULTS, **(overrides or {})}.items())


def round_robin_options(target: str) -> dict[str, Any]:
    """What has grpcio's own channel call every address of a target that may have several, in turn.

    Raises ValueError, with the target in it, unless it has one of gRPC's forms.
    """
    # gRPC's default policy, pick_first, would send everything to one of the addresses.
    return {"grpc.lb_policy_name": "round_robin"} if parse_target(target).is_spread else {}


def _decode_path(rest: str) -> str:
    """The path of a URI whose scheme is followed by `rest`, decoded."""
    if rest.startswith("//"):
        # RFC 3986, section 3.2: an authority stands between `//` and the next slash. For dns it is the name server to
        # ask (naming.md).
        authority, slash, path = rest[2:].partition("/")
        if authority:
            raise ValueError(f"a name server ({authority}) is not supported; the name begins after '///'")
        rest = slash + path
    # The path of a Unix socket is bytes to the system; they need not be UTF-8.
    return unquote(rest, errors="surrogateescape")


def _parse_ip(text: str, path: str, check: Callable[[str], object]) -> ParsedTarget:
    pairs = [_split_address(each) for each in path.removeprefix("/").split(",")]
    for host, _ in pairs:
        check(host)
    return ParsedTarget(text, tuple(dict.fromkeys(join_address(host, port) for host, port in pairs)))


def _split_address(text: str) -> tuple[str, int]:
    """Host and port; without a port it is 443, as everywhere in gRPC."""
    found = _PAIR.fullmatch(text)
    if not found:
        try:
            return str(IPv6Address(text)), _DEFAULT_PORT
        except ValueError:
            raise ValueError(f"{text!r} is not {_FORMS}") from None
    host = found["host"] or str(IPv6Address(found["v6"]))
    # What getaddrinfo would refuse later: labels that are empty or too long.
    host.encode("idna")
    port = _DEFAULT_PORT if found["port"] is None else int(found["port"])
    if port > 65535:
        raise ValueError(f"port {port} is above 65535")
    return host, port

"""Addresses of servers as gRPC spells them, to listen on and to connect to.

Sources: gRPC's naming.md for the forms; what that leaves open, such as how a peer is spelt, is as in grpcio.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import quote, unquote

DEFAULT_PORT = 443

_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[^]]+)]|(?P<host>[^]\s\0:/?#@,[]+))(?::(?P<port>[0-9]{1,5}))?")
# What RFC 3986 lets stand in a path, apart from letters, digits and "-._~".
_PATH_CHARACTERS = "/:@!$&'()*+,;="


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A port of a host: of a name, or of an IPv4 or IPv6 address without brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket; the path of one in the abstract namespace begins with NUL, as in `socket`."""

    path: str


Address = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses that a channel tries in turn, and the names of the server.

    `authority` is the default for the pseudo-header, `server_name` the name that the server's certificate must have.
    """

    addresses: tuple[Address, ...]
    authority: str
    server_name: str


def parse_listen(address: str) -> Address:
    """The one address that a server is to listen on. `*` as a host is every interface, and becomes `::`.

    Raises ValueError, with the address in it, unless it has one of gRPC's forms.
    """
    first, *more = parse_target(address).addresses
    if more:
        raise ValueError(f"{address!r} is more than the one address that a server takes at a time")
    return TcpAddress("::", first.port) if isinstance(first, TcpAddress) and first.host == "*" else first


def parse_target(target: str) -> Target:
    """What a channel is to connect to. A host without a port gets gRPC's default, 443.

    Raises ValueError, with the target in it, unless it has one of gRPC's forms.
    """
    scheme, _, rest = target.partition(":")
    parse = _SCHEMES.get(scheme.lower())
    try:
        return parse(_path(rest)) if parse else _parse_dns(target)
    except ValueError as error:
        # What the errors below lack is the target as a whole.
        raise ValueError(f"{target!r} is no address for gRPC: {error}") from None


def peer_name(peername: Any, sockname: Any = None) -> str:
    """The peer of a connection in grpcio's spelling, from the names that its socket has for both ends.

    `ipv4:127.0.0.1:80`, `ipv6:%5B::1%5D:80`, `unix:/path`; `unix:` alone for a client without a path, as most are.
    """
    match peername:
        case str() | bytes():
            path = os.fsencode(peername)
            # A name in the abstract namespace begins with NUL.
            scheme, path = ("unix-abstract", path[1:]) if path.startswith(b"\0") else ("unix", path)
            return f"{scheme}:{quote(path, _PATH_CHARACTERS)}"
        case (str(host), int(port), *rest):
            if ":" not in host:
                return f"ipv4:{host}:{port}"
            address = IPv6Address(host.partition("%")[0])
            # A client of IPv4, at a socket that takes both.
            if address.ipv4_mapped:
                return f"ipv4:{address.ipv4_mapped}:{port}"
            scope = f"%25{rest[1]}" if rest[1:] and rest[1] else ""
            return f"ipv6:%5B{address}{scope}%5D:{port}"
    return "unix:" if isinstance(sockname, str | bytes) else "unknown"


def _path(rest: str) -> str:
    """The path of a URI whose scheme is followed by `rest`, decoded."""
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        if authority:
            raise ValueError(f"a name server ({authority}) is not supported; the address begins after '///'")
        rest = slash + path
    return unquote(rest, errors="surrogateescape")


def _parse_dns(path: str) -> Target:
    return _tcp_target([_host_and_port(path.removeprefix("/"))])


def _parse_ip(path: str, check: Callable[[str], object]) -> Target:
    pairs = [_host_and_port(each) for each in path.removeprefix("/").split(",")]
    for host, _ in pairs:
        check(host)
    return _tcp_target(pairs)


def _parse_unix(path: str, prefix: str = "") -> Target:
    if not path or "\0" in path:
        raise ValueError("a Unix socket needs a path, or a name, without NUL")
    # Not the path, as in grpcio: servers in Rust and C# refuse that (grpc/grpc#34305 and #38142).
    return Target((UnixAddress(prefix + path),), "localhost", "localhost")


_SCHEMES: dict[str, Callable[[str], Target]] = {
    "dns": _parse_dns,
    "ipv4": lambda path: _parse_ip(path, IPv4Address),
    "ipv6": lambda path: _parse_ip(path, IPv6Address),
    "unix": _parse_unix,
    "unix-abstract": lambda path: _parse_unix(path, "\0"),
}


def _tcp_target(pairs: list[tuple[str, int | None]]) -> Target:
    # Of several addresses the first gives the target its names, as in grpcio.
    host, port = pairs[0]
    # The zone of an address means nothing to the server (RFC 6874), nor is it in a certificate.
    name = host.partition("%")[0]
    authority = (f"[{name}]" if ":" in host else name) + ("" if port is None else f":{port}")
    addresses = tuple(TcpAddress(host, DEFAULT_PORT if port is None else port) for host, port in pairs)
    return Target(addresses, authority, name)


def _host_and_port(text: str) -> tuple[str, int | None]:
    found = _HOST_AND_PORT.fullmatch(text)
    if not found:
        # An IPv6 address without a port needs no brackets.
        try:
            return str(IPv6Address(text)), None
        except ValueError:
            raise ValueError(f"{text!r} is not host:port, and has none of the schemes {', '.join(_SCHEMES)}") from None
    host = found["host"] or str(IPv6Address(found["v6"]))
    # Raises for what `getaddrinfo` would refuse later: labels that are empty or too long.
    host.encode("idna")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and port > 65535:
        raise ValueError(f"port {port} is above 65535")
    return host, port


def _bare_ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not host:port, and has none of the schemes {', '.join(_SCHEMES)}") from None

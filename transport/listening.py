"""The sockets that a server listens on."""

import errno
import os
import socket
import stat
from pathlib import Path

from yais.transport.address import TcpAddress, UnixAddress, parse_listen

_ATTEMPTS = 10


def bind(address: str, reuse_port: bool) -> list[socket.socket]:
    """Sockets bound to all that `address` stands for, on the same port.

    Raises ValueError for an address that is none, and OSError when it cannot be bound.
    """
    parsed = parse_listen(address)
    if isinstance(parsed, UnixAddress):
        return [_bind_unix(parsed)]
    return _bind_any_port(parsed, reuse_port) if parsed.port == 0 else _bind_tcp(parsed, reuse_port)


def port_of(sock: socket.socket) -> int:
    """Its port; 1 for a Unix socket, as in grpcio."""
    return 1 if sock.family == socket.AF_UNIX else int(sock.getsockname()[1])


def release(sock: socket.socket) -> None:
    """Closes it, and takes the file of a Unix socket away."""
    path = sock.getsockname() if sock.family == socket.AF_UNIX and sock.fileno() >= 0 else b""
    sock.close()
    if isinstance(path, str) and path:
        Path(path).unlink(missing_ok=True)


def _bind_unix(address: UnixAddress) -> socket.socket:
    """Takes the place of a socket that a server left behind."""
    _remove_stale(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(address.path)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    if path.startswith("\0") or not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path):
            os.unlink(path)


def _bind_any_port(address: TcpAddress, reuse_port: bool) -> list[socket.socket]:
    """The port that the system finds for the first socket may be taken where the others are: then another one is."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return _bind_tcp(address, reuse_port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _bind_tcp(address, reuse_port)


def _bind_tcp(address: TcpAddress, reuse_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, _, _, _, name in _resolve(address):
            # asyncio switches off Nagle's algorithm only where the protocol is told.
            sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # "::" is to mean IPv4 as well, unless it is bound by itself.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "::" else 1)
            sock.bind((name[0], port, *name[2:]))
            port = port or sock.getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _resolve(address: TcpAddress) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(found))

"""Sockets that a server listens on."""

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
    # The port that the system finds for the first socket may be taken where the others are: then another one is tried.
    for _ in range(_ATTEMPTS - 1 if parsed.port == 0 else 0):
        try:
            return _bind_tcp(parsed, reuse_port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _bind_tcp(parsed, reuse_port)


def port_of(sock: socket.socket) -> int:
    """Its port; 1 for a Unix socket, as in grpcio."""
    return 1 if sock.family == socket.AF_UNIX else int(sock.getsockname()[1])


def release(sock: socket.socket) -> None:
    """Closes it, and removes the file of a Unix socket."""
    # It may be closed already; and one in the abstract namespace has a name of bytes, and no file.
    path = sock.getsockname() if sock.family == socket.AF_UNIX and sock.fileno() >= 0 else b""
    sock.close()
    if isinstance(path, str) and path:
        Path(path).unlink(missing_ok=True)


def _bind_unix(address: UnixAddress) -> socket.socket:
    """Takes the place of a socket file that a server left behind."""
    path = address.path
    # Nobody listens where connecting fails; any other kind of file stays, and `bind` fails.
    if not path.startswith("\0") and os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(path):
                os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_tcp(address: TcpAddress, reuse_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = address.port
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name that /etc/hosts has twice is found twice.
        for family, _, _, _, name in dict.fromkeys(found):
            # asyncio switches off Nagle's algorithm only on a socket that was made with IPPROTO_TCP.
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

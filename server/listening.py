"""Ports that a server listens on: the error when one cannot be had, and one that is kept for many processes."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from yais.server.config import Config


class StartError(Exception):
    """The server cannot start; the message names what stands in the way."""


@contextmanager
def start_error_for(flag: str, config: Config, port: int) -> Iterator[None]:
    """Turns an error while `port` is bound into a `StartError` that names `flag`."""
    try:
        yield
    # grpcio raises RuntimeError, and a host that IDNA cannot encode is a UnicodeError; all else is OSError.
    except (OSError, RuntimeError, UnicodeError) as error:
        raise StartError(f"{flag}: cannot listen on {config.address}:{port}: {error}") from error


def reserve(config: Config) -> list[socket.socket]:
    """Sockets that keep the gRPC port for processes which share it, without listening. Raises `StartError`.

    They are bound without SO_REUSEPORT, so that a port which another server has is an error even if that one would
    share it, and are opened to sharing afterwards.
    """
    sockets: list[socket.socket] = []
    port = config.port
    with start_error_for("--port", config, port), ExitStack() as closing:
        found = socket.getaddrinfo(config.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, name in dict.fromkeys((family, name) for family, _, _, _, name in found):
            sock = closing.enter_context(socket.socket(family, socket.SOCK_STREAM))
            # Connections that the last server closed are no reason to wait.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # "::" is to mean IPv4 as well, unless it is bound by itself.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if name[0] == "::" else 1)
            sock.bind((name[0], port, *name[2:]))
            sockets.append(sock)
            # If the system chose the port, the other addresses of the host are to have the same.
            port = port_of(sockets)
        closing.pop_all()
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sockets


def port_of(sockets: list[socket.socket]) -> int:
    """The one port of all `sockets`."""
    port: int = sockets[0].getsockname()[1]
    return port

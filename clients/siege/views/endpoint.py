"""`--metrics`: an endpoint for Prometheus."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import click
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from yais.clients.siege.views.address import Address

# Seconds in which it notices that it shall end.
_NOTICES = 0.1


class _Server(ThreadingWSGIServer):
    # Some versions of Python would share the port with whoever has it already.
    allow_reuse_port = False


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, text: str, *values: object) -> None: ...


@contextmanager
def serving(collector: Collector, address: Address) -> Iterator[Address]:
    """Answers scrapes of what the collector tells, in a thread; gives the address with the port that it got.

    Raises click's usage error where the address cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    kind = _Server6 if ":" in address.host else _Server
    try:
        server = make_server(address.host, address.port, make_wsgi_app(registry), kind, _Silent)
    except OSError as error:
        raise click.BadParameter(f"{address}: {error.strerror}", param_hint="'--metrics'") from error
    with server:
        thread = Thread(target=server.serve_forever, args=(_NOTICES,), name="metrics", daemon=True)
        thread.start()
        try:
            yield Address(address.host, server.server_port)
        finally:
            server.shutdown()
            thread.join()

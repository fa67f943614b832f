"""Server with the interface of `grpc.aio.Server`: its methods, its ports, its start and its stop."""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic

import grpc

from yais.transport.connection_management import ConnectionManager
from yais.transport.credentials import ServerCredentials
from yais.transport.handlers import Runner
from yais.transport.interceptors import Handler, chain
from yais.transport.listening import bind, port_of, release
from yais.transport.options import Settings
from yais.transport.protocols import ServerProtocol
from yais.transport.server_call import Method, ServerCall

RawCallback = Callable[[ServerCall, memoryview], None]

logger = logging.getLogger(__name__)

_BACKLOG = 1024
# How long the last GOAWAY may take to be read, before the connections are dropped.
_CLOSE_TIMEOUT_S = 0.1


class GrpcServer:
    """Serves calls on the event loop that runs `start`; made by `yais.transport.server`."""

    def __init__(self, settings: Settings, runner: Runner, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._settings = settings
        self._runner = runner
        self._interceptors = interceptors
        self._methods: dict[bytes, Method] = {}
        self._handlers: dict[str, Handler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._sockets: list[tuple[socket.socket, ServerCredentials | None]] = []
        self._listeners: list[asyncio.Server] = []
        self._connections: set[ServerProtocol] = set()
        self._manager = ConnectionManager(settings, self._connections)
        self._stopping: asyncio.Task[None] | None = None
        self._stop_at = float("inf")
        self._all_closed = asyncio.Event()
        self._stopped = asyncio.Event()

    def add_raw_method(self, path: str, callback: RawCallback) -> None:
        """Serves the unary method `path` by `callback(call, message)`, which sees to `call.respond` or `call.fail`."""
        self._methods[path.encode()] = Method(callback, is_raw=True)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        for name, handler in method_handlers.items():
            self._handlers[f"/{service_name}/{name}"] = handler

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._generic.extend(generic_rpc_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Binds `address`; returns its port, or 1 for a Unix socket. Raises `RuntimeError` when that fails."""
        return self._bind(address, None)

    def add_secure_port(self, address: str, server_credentials: ServerCredentials) -> int:
        """The same behind TLS."""
        if not isinstance(server_credentials, ServerCredentials):
            raise TypeError("server_credentials must be of yais.transport.ssl_server_credentials")
        return self._bind(address, server_credentials)

    async def start(self) -> None:
        """Does nothing when it has been started. Raises `grpc.aio.UsageError` after `stop`."""
        if self._stopping is not None:
            raise grpc.aio.UsageError("Server already stopped.")
        if self._listeners:
            return
        self._register()
        loop = asyncio.get_running_loop()
        make_protocol = partial(ServerProtocol, loop, self, self._settings, self._methods)
        for sock, credentials in self._sockets:
            create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            context = credentials.context if credentials else None
            # asyncio refuses a handshake timeout without TLS.
            timeout = self._settings.handshake_timeout if context else None
            self._listeners.append(
                await create(make_protocol, sock=sock, ssl=context, ssl_handshake_timeout=timeout, backlog=_BACKLOG)
            )
        self._manager.start()

    async def stop(self, grace: float | None) -> None:
        """Takes no more calls; those under way have `grace` seconds to end, and are cancelled after that.

        When it is called again meanwhile, the grace that is over first counts.
        """
        stop_at = monotonic() + (grace or 0)
        if stop_at < self._stop_at:
            # `_stop` may be begun anew at any point: none of its steps does harm a second time.
            self._stop_at = stop_at
            if self._stopping is not None:
                self._stopping.cancel()
            self._stopping = asyncio.create_task(self._stop())
        await self._stopped.wait()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109, grpc.aio's signature
        """Waits until the server has stopped; true when the timeout came first."""
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except TimeoutError:
            return True
        return False

    def connection_opened(self, connection: ServerProtocol) -> None:
        logger.debug("%s connected", connection.peer)
        self._connections.add(connection)
        # Accepted by the system before the listening socket was closed.
        if self._stopping is not None:
            connection.drain()

    def connection_closed(self, connection: ServerProtocol, error: Exception | None) -> None:
        logger.debug("%s left%s", connection.peer, f": {error}" if error else "")
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    def _bind(self, address: str, credentials: ServerCredentials | None) -> int:
        if self._listeners:
            raise RuntimeError(f"Cannot listen on {address}: the server has been started")
        try:
            sockets = bind(address, self._settings.reuse_port)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"Cannot listen on {address}: {error}") from error
        self._sockets += [(sock, credentials) for sock in sockets]
        return port_of(sockets[0])

    def _register(self) -> None:
        """Makes the handlers known to the connections; without interceptors, they are found by their path alone."""
        if not self._interceptors:
            for path, handler in self._handlers.items():
                self._methods.setdefault(path.encode(), self._runner.method(handler))
        if self._generic or self._interceptors:
            # The empty path stands for all others.
            self._methods[b""] = self._runner.generic_method(chain(self._interceptors, self._look_up))

    async def _look_up(self, details: grpc.HandlerCallDetails) -> Handler | None:
        if (handler := self._handlers.get(details.method)) is not None:
            return handler
        found = (generic.service(details) for generic in self._generic)
        return next((handler for handler in found if handler is not None), None)

    async def _stop(self) -> None:
        # Nobody can connect any more, so that there is an end to what is to be drained.
        for listener in self._listeners:
            listener.close()
        for sock, _ in self._sockets:
            release(sock)
        for connection in list(self._connections):
            connection.drain()
        # Each closes with its last call; those that are left after the grace are closed with all of theirs.
        await self._wait_closed(max(0.0, self._stop_at - monotonic()))
        for connection in list(self._connections):
            connection.cancel_all()
        await self._wait_closed(_CLOSE_TIMEOUT_S)
        for connection in list(self._connections):
            connection.abort()
        await self._wait_closed(None)
        # Methods whose calls were cancelled may still clean up.
        await self._runner.wait_idle()
        self._manager.stop()
        self._stopped.set()

    async def _wait_closed(self, grace: float | None) -> None:
        """Waits until all connections are closed, but no longer than `grace`."""
        while self._connections:
            self._all_closed.clear()
            try:
                await asyncio.wait_for(self._all_closed.wait(), grace)
            except TimeoutError:
                return

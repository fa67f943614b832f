"""The connection of a channel: made when it is needed, made again when it is lost, with gRPC's states and backoff.

The states are those of gRPC's connectivity-semantics-and-api.md.
"""

import asyncio
import random
import socket
from time import monotonic

from grpc import ChannelConnectivity as State

from yais.transport.address import Address, Target, TcpAddress
from yais.transport.backoff import Backoff
from yais.transport.changes import Changes
from yais.transport.credentials import ChannelCredentials
from yais.transport.keeper import keep_alive
from yais.transport.options import Settings
from yais.transport.protocols import ClientProtocol
from yais.transport.security import check_http2

# Seconds for a goodbye to be read and, under TLS, answered; C-core does not answer, and waits for the socket to end.
_GOODBYE = 0.1


class Link:
    """Keeps `connection` to `target` while the state is READY; it is None otherwise. `failure` tells why it is."""

    def __init__(
        self, target: Target, settings: Settings, backoff: Backoff, credentials: ChannelCredentials | None
    ) -> None:
        self.connection: ClientProtocol | None = None
        self.state = State.IDLE
        self.failure = ""
        self._target = target
        self._settings = settings
        self._backoff = backoff
        self._credentials = credentials
        self._changes = Changes()
        self._connecting: asyncio.Task[None] | None = None
        # No attempt before this. After a connection the next attempt is made at once, but not twice in a row after
        # connections on which nothing was answered: a server that hangs up on everybody is not to be stormed.
        self._delays = backoff.delays(random.random)
        self._not_before = 0.0
        self._was_in_vain = False
        self._connections: set[ClientProtocol] = set()
        # The connection of the attempt that is under way, and whether it has come to something.
        self._attempted: ClientProtocol | None = None
        self._ready: asyncio.Future[None] | None = None
        self._refusal: Exception | None = None
        self._keepalive: asyncio.TimerHandle | None = None

    @property
    def is_closed(self) -> bool:
        return self.state is State.SHUTDOWN

    def connect(self) -> None:
        """Begins to connect, unless that is under way or done."""
        if self.state is State.IDLE:
            self._enter(State.CONNECTING)
            self._connecting = asyncio.create_task(self._connect())

    async def ready(self, wait_for_ready: bool) -> ClientProtocol:
        """The connection, once there is one. Raises ConnectionError when there will not be, or none soon."""
        while self.connection is None:
            if self.state is State.SHUTDOWN:
                raise ConnectionError("The channel is closed")
            if self.state is State.TRANSIENT_FAILURE and not wait_for_ready:
                raise ConnectionError(self.failure)
            self.connect()
            await self.changed(self.state)
        return self.connection

    async def changed(self, state: State) -> None:
        """Waits until the state is another than `state`."""
        await self._changes.until(lambda: self.state is not state)

    async def close(self, grace: float | None) -> None:
        """Makes no more calls; those under way have `grace` seconds to end, and are cancelled after that."""
        if self.state is State.SHUTDOWN:
            return
        self.connection = None
        self._enter(State.SHUTDOWN)
        if self._connecting is not None:
            self._connecting.cancel()
        if self._keepalive is not None:
            self._keepalive.cancel()
        for connection in list(self._connections):
            connection.leave()
        if grace:
            await self._wait_left(grace)
        for connection in list(self._connections):
            connection.cancel_all()
        await self._wait_left(_GOODBYE)
        for connection in list(self._connections):
            connection.abort()
        await self._wait_left(None)

    def connection_ready(self, connection: ClientProtocol) -> None:
        self._settle(connection)

    def connection_draining(self, connection: ClientProtocol, error_code: int, reason: bytes) -> None:
        """The server wants no new calls there; those under way go on."""
        if connection is self.connection:
            self._lose(
                f"The server sent GOAWAY with HTTP/2 error {error_code} {reason.decode(errors='replace')}".rstrip()
            )

    def connection_closed(self, connection: ClientProtocol, error: Exception | None) -> None:
        self._connections.discard(connection)
        self._settle(connection, error)
        if connection is self.connection:
            self._lose(f"The connection was lost: {error or 'closed by the server'}")
        self._changes.changed()

    def _settle(self, connection: ClientProtocol, refusal: Exception | None = None) -> None:
        """Ends the wait for the attempted connection; an earlier one, which drains, may end meanwhile."""
        if connection is self._attempted and self._ready is not None and not self._ready.done():
            self._refusal = refusal
            self._ready.set_result(None)

    def _lose(self, failure: str) -> None:
        assert self.connection is not None
        if self.connection.has_answered:
            self._delays = self._backoff.delays(random.random)
        if self.connection.has_answered or not self._was_in_vain:
            self._not_before = 0.0
        self._was_in_vain = not self.connection.has_answered
        self.connection = None
        self.failure = failure
        self._enter(State.IDLE)

    def _enter(self, state: State) -> None:
        self.state = state
        self._changes.changed()

    async def _connect(self) -> None:
        """Tries until it succeeds, with a pause after each attempt."""
        while self.connection is None:
            await asyncio.sleep(self._not_before - monotonic())
            delay = next(self._delays)
            self._not_before = monotonic() + delay
            self._enter(State.CONNECTING)
            try:
                async with asyncio.timeout(max(delay, self._backoff.connect_timeout)):
                    self.connection = await self._try_all()
            except OSError as error:
                self.failure = f"failed to connect to all addresses; last error: {error or type(error).__name__}"
                self._enter(State.TRANSIENT_FAILURE)
        self._enter(State.READY)
        self._schedule_keepalive()

    async def _try_all(self) -> ClientProtocol:
        """The first address that answers. Raises the last one's error."""
        *others, last = self._target.addresses
        for address in others:
            try:
                return await self._try(address)
            except OSError:
                continue
        return await self._try(last)

    async def _try(self, address: Address) -> ClientProtocol:
        """A connection that is ready once the server's SETTINGS have come."""
        self._ready = asyncio.get_running_loop().create_future()
        connection = self._attempted = self._protocol()
        try:
            check_http2(await self._open(address, connection))
            await self._ready
            if not connection.is_ready:
                raise self._refusal or ConnectionError("The server closed the connection")
        except BaseException:
            # Where a TLS handshake fails, or connecting is cancelled, the protocol may never be told of an end.
            connection.abort()
            self._connections.discard(connection)
            raise
        finally:
            self._attempted = None
        return connection

    async def _open(self, address: Address, connection: ClientProtocol) -> asyncio.BaseTransport:
        loop = asyncio.get_running_loop()
        context = self._credentials.context if self._credentials else None
        name = (self._settings.server_name or self._target.server_name) if context else None
        if isinstance(address, TcpAddress):
            transport, _ = await loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=context,
                server_hostname=name,
                ssl_shutdown_timeout=_GOODBYE if context else None,
            )
        else:
            # uvloop takes no abstract names.
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address.path)
            except BaseException:
                sock.close()
                raise
            transport, _ = await loop.create_unix_connection(
                lambda: connection,
                sock=sock,
                ssl=context,
                server_hostname=name,
                ssl_shutdown_timeout=_GOODBYE if context else None,
            )
        return transport

    def _protocol(self) -> ClientProtocol:
        connection = ClientProtocol(asyncio.get_running_loop(), self, self._settings)
        self._connections.add(connection)
        return connection

    async def _wait_left(self, grace: float | None) -> None:
        try:
            async with asyncio.timeout(grace):
                await self._changes.until(lambda: not self._connections)
        except TimeoutError:
            return

    def _schedule_keepalive(self) -> None:
        settings = self._settings
        if self._keepalive is None and settings.keepalive_time < float("inf"):
            period = min(settings.keepalive_time, settings.keepalive_timeout) / 4
            self._keepalive = asyncio.get_running_loop().call_later(period, self._keep_alive)

    def _keep_alive(self) -> None:
        self._keepalive = None
        if self.connection is not None:
            keep_alive(self.connection, self._settings, monotonic())
            self._schedule_keepalive()

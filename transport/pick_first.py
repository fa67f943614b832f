"""Load-balancing policy pick_first: one connection, to the first address that can be reached.

Sources: gRPC's load-balancing.md for the policy, connectivity-semantics-and-api.md for the states, and
connection-backoff.md for the pauses between attempts.
"""

import asyncio
import random
import socket
from time import monotonic
from typing import Any

from grpc import ChannelConnectivity as State

from yais.transport.address import Address, Target, TcpAddress
from yais.transport.backoff import Backoff
from yais.transport.connection_management import keep_alive
from yais.transport.credentials import ChannelCredentials
from yais.transport.notification import Condition
from yais.transport.options import Settings
from yais.transport.protocols import ClientProtocol
from yais.transport.security import check_http2

# How long a GOAWAY may take to be read and, under TLS, a close_notify to be answered; C-core does not answer that, and
# waits for the socket to end.
_CLOSE_TIMEOUT_S = 0.1


class PickFirstBalancer:
    """Connects to the addresses of `target` in turn, and goes IDLE when the connection is lost, until the next call.

    `connection` is None unless `state` is READY; `failure` says why the last attempt, or the last connection, failed.
    """

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
        self._condition = Condition()
        self._connecting: asyncio.Task[None] | None = None
        # No attempt before `_not_before`. After a connection the next attempt is made at once, but not twice in a row
        # after connections on which nothing was answered: a server that closes every connection would be flooded.
        self._delays = backoff.delays(random.random)
        self._not_before = 0.0
        self._was_useless = False
        # The current one, those that drain, and the one that is being made.
        self._connections: set[ClientProtocol] = set()
        # The last of these, a future that is done when it is ready or lost, and why it was lost.
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
            await self.wait_for_state_change(self.state)
        return self.connection

    async def wait_for_state_change(self, state: State) -> None:
        """Waits until the state is another than `state`."""
        await self._condition.wait_for(lambda: self.state is not state)

    async def close(self, grace: float | None) -> None:
        """Makes no more calls; those under way have `grace` seconds to end, and are cancelled after that."""
        if self.state is State.SHUTDOWN:
            return
        # From here on no new call finds a connection.
        self.connection = None
        self._enter(State.SHUTDOWN)
        if self._connecting is not None:
            self._connecting.cancel()
        if self._keepalive is not None:
            self._keepalive.cancel()
        for connection in list(self._connections):
            connection.drain()
        if grace:
            await self._wait_closed(grace)
        for connection in list(self._connections):
            connection.cancel_all()
        await self._wait_closed(_CLOSE_TIMEOUT_S)
        for connection in list(self._connections):
            connection.abort()
        await self._wait_closed(None)

    def connection_ready(self, connection: ClientProtocol) -> None:
        self._settle(connection)

    def connection_draining(self, connection: ClientProtocol, error_code: int, reason: bytes) -> None:
        """The server takes no new calls on it; those under way go on."""
        if connection is self.connection:
            self._lose(
                f"The server sent GOAWAY with HTTP/2 error {error_code} {reason.decode(errors='replace')}".rstrip()
            )

    def connection_closed(self, connection: ClientProtocol, error: Exception | None) -> None:
        self._connections.discard(connection)
        self._settle(connection, error)
        if connection is self.connection:
            self._lose(f"The connection was lost: {error or 'closed by the server'}")
        self._condition.notify_all()

    def _settle(self, connection: ClientProtocol, refusal: Exception | None = None) -> None:
        """Ends the wait for the attempted connection. An earlier one, which drains, may be lost meanwhile."""
        if connection is self._attempted and self._ready is not None and not self._ready.done():
            self._refusal = refusal
            self._ready.set_result(None)

    def _lose(self, failure: str) -> None:
        assert self.connection is not None
        # A server that completes a handshake may still be unable to serve; only an answer resets the backoff.
        if self.connection.has_answered:
            self._delays = self._backoff.delays(random.random)
        if self.connection.has_answered or not self._was_useless:
            self._not_before = 0.0
        self._was_useless = not self.connection.has_answered
        self.connection = None
        self.failure = failure
        self._enter(State.IDLE)

    def _enter(self, state: State) -> None:
        self.state = state
        self._condition.notify_all()

    async def _connect(self) -> None:
        """Tries until it succeeds, with a pause after each attempt."""
        while self.connection is None:
            await asyncio.sleep(self._not_before - monotonic())
            # The delay counts from the start of an attempt (connection-backoff.md).
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
        if self._keepalive is None and self._settings.keepalive_time < float("inf"):
            self._keep_alive()

    async def _try_all(self) -> ClientProtocol:
        """The first address that answers. Raises the last one's error."""
        *others, last = self._target.addresses
        for address in others:
            # Their errors are not shown: gRPC reports the last one.
            try:
                return await self._try(address)
            except OSError:
                continue
        return await self._try(last)

    async def _try(self, address: Address) -> ClientProtocol:
        """A connection that is ready once the server's SETTINGS have come."""
        self._ready = asyncio.get_running_loop().create_future()
        connection = self._attempted = ClientProtocol(asyncio.get_running_loop(), self, self._settings)
        self._connections.add(connection)
        try:
            check_http2(await self._open(address, connection))
            # RFC 9113, 3.4, lets a client send at once; whoever sends SETTINGS first has shown that it speaks HTTP/2.
            await self._ready
            if not connection.is_ready:
                raise self._refusal or ConnectionError("The server closed the connection")
        except BaseException:
            # Where a TLS handshake fails, or connecting is cancelled, asyncio may never call `connection_lost`.
            connection.abort()
            self._connections.discard(connection)
            self._condition.notify_all()
            raise
        finally:
            self._attempted = None
        return connection

    async def _open(self, address: Address, connection: ClientProtocol) -> asyncio.BaseTransport:
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self._credentials:
            tls["ssl"] = self._credentials.context
            tls["server_hostname"] = self._settings.server_name or self._target.server_name
            tls["ssl_shutdown_timeout"] = _CLOSE_TIMEOUT_S
        if isinstance(address, TcpAddress):
            transport, _ = await loop.create_connection(lambda: connection, address.host, address.port, **tls)
            return transport
        # uvloop's `create_unix_connection` takes no abstract names, so the socket is connected first.
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address.path)
        except BaseException:
            sock.close()
            raise
        transport, _ = await loop.create_unix_connection(lambda: connection, sock=sock, **tls)
        return transport

    async def _wait_closed(self, grace: float | None) -> None:
        try:
            async with asyncio.timeout(grace):
                await self._condition.wait_for(lambda: not self._connections)
        except TimeoutError:
            return

    def _keep_alive(self) -> None:
        """Checks the connection, and goes on doing so until there is none."""
        self._keepalive = None
        if self.connection is not None:
            keep_alive(self.connection, self._settings, monotonic())
            # A limit is exceeded by a quarter at most, as on the server's side.
            period = min(self._settings.keepalive_time, self._settings.keepalive_timeout) / 4
            self._keepalive = asyncio.get_running_loop().call_later(period, self._keep_alive)

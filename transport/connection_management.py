"""Time limits of connections: handshakes, messages, keepalive, idleness and age, checked at regular intervals.

Source: gRPC's A9-server-side-conn-mgt.md, and its document on keepalive; the options are those of `options.py`.
"""

import asyncio
from collections.abc import Collection
from random import random
from time import monotonic
from typing import Protocol

from yais.transport.options import Settings

# Not what `server_connection.pyx` sends while it drains, whose answer means something.
_PING = b"keepaliv"
_NO_ERROR = 0
_LONGEST_PERIOD_S = 1.0
# Of A9: ages differ by a tenth, so that clients do not all come back at the same time.
_JITTER = 0.1


class KeepaliveConnection(Protocol):
    """The part of a connection that keepalive needs; times are of `time.monotonic`."""

    @property
    def read_at(self) -> float: ...
    @property
    def streams(self) -> Collection[int]: ...

    keepalive_sent_at: float

    def ping(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


class ManagedConnection(KeepaliveConnection, Protocol):
    """The part of a server's connection that its manager needs."""

    @property
    def opened_at(self) -> float: ...
    @property
    def busy_at(self) -> float: ...
    @property
    def has_settings(self) -> bool: ...
    @property
    def is_draining(self) -> bool: ...

    # Kept here for the manager, and zero until it has set them.
    drained_at: float
    age_limit: float

    def drain(self) -> None: ...
    def terminate(self, error_code: int, reason: bytes) -> None: ...
    def sweep(self, begun_before: float, stalled_sweeps: float) -> bool:
        """Ends calls whose peer is too slow; returns false when that means the whole connection."""


class ConnectionManager:
    """Checks `connections`, a collection that may change at any time, every `period` seconds."""

    def __init__(self, settings: Settings, connections: Collection[ManagedConnection]) -> None:
        self._settings = settings
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None
        limits = (
            settings.handshake_timeout,
            settings.message_timeout,
            settings.stall_timeout,
            settings.keepalive_time,
            settings.keepalive_timeout,
            settings.max_connection_idle,
            settings.max_connection_age,
            settings.max_connection_age_grace,
        )
        # One timer for all connections, so a limit is exceeded by up to a period: by a quarter of the shortest.
        self.period = min(_LONGEST_PERIOD_S, *(limit / 4 for limit in limits))

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.period, self._check_all)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def check(self, connection: ManagedConnection, now: float) -> None:
        """Does what is due about one connection."""
        settings = self._settings
        # Before the client's SETTINGS there are no streams, so nothing else can be due.
        if not connection.has_settings:
            if now - connection.opened_at > settings.handshake_timeout:
                connection.abort()
        elif not connection.sweep(now - settings.message_timeout, settings.stall_timeout / self.period):
            connection.abort()
        elif connection.is_draining:
            # `drained_at` is zero where the server itself stops: then the grace of `stop` counts.
            if connection.drained_at and now - connection.drained_at > settings.max_connection_age_grace:
                connection.terminate(_NO_ERROR, b"max_age")
        elif self._is_expired(connection, now):
            connection.drained_at = now
            connection.drain()
        else:
            keep_alive(connection, settings, now)

    def _check_all(self) -> None:
        now = monotonic()
        # A copy, since a connection that is closed here leaves the collection.
        for connection in list(self._connections):
            self.check(connection, now)
        self.start()

    def _is_expired(self, connection: ManagedConnection, now: float) -> bool:
        if not connection.age_limit:
            connection.age_limit = self._settings.max_connection_age * (1 + _JITTER * (2 * random() - 1))
        is_idle = not connection.streams and now - connection.busy_at > self._settings.max_connection_idle
        return is_idle or now - connection.opened_at > connection.age_limit


def keep_alive(connection: KeepaliveConnection, settings: Settings, now: float) -> None:
    """Sends a PING after `keepalive_time` of silence, and drops a connection that stays silent after it."""
    if connection.keepalive_sent_at > connection.read_at:
        # Any bytes after the PING show that the peer is alive, not only its acknowledgement.
        if now - connection.keepalive_sent_at > settings.keepalive_timeout:
            connection.abort()
    elif now - connection.read_at > settings.keepalive_time and (
        connection.streams or settings.keepalive_without_calls
    ):
        connection.keepalive_sent_at = now
        connection.ping(_PING)

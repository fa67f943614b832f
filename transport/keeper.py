"""The time limits of a server's connections: the slow, silent, idle and old are seen to in regular rounds."""

import asyncio
from collections.abc import Collection
from random import random
from time import monotonic
from typing import Protocol

from yais.transport.options import Settings

_PING = b"keepaliv"
_NO_ERROR = 0
_ROUND_S = 1.0
# gRPC's A9-server-side-conn-mgt.md: ages differ by a tenth, so that clients do not all come back at the same time.
_JITTER = 0.1


class Alive(Protocol):
    """What keepalive sees and does of a connection; times are of `time.monotonic`."""

    @property
    def read_at(self) -> float: ...
    @property
    def streams(self) -> Collection[int]: ...

    keepalive_sent_at: float

    def ping(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


class Connection(Alive, Protocol):
    """What the keeper sees and does of a server's connection."""

    @property
    def opened_at(self) -> float: ...
    @property
    def busy_at(self) -> float: ...
    @property
    def has_spoken(self) -> bool: ...
    @property
    def is_draining(self) -> bool: ...

    drained_at: float
    age_limit: float

    def drain(self) -> None: ...
    def terminate(self, error_code: int, reason: bytes) -> None: ...
    def sweep(self, begun_before: float, stalled_rounds: float) -> bool:
        """Ends calls whose peer is too slow; returns false when that means the whole connection."""


class Keeper:
    """Goes round `connections`, which may change meanwhile."""

    def __init__(self, settings: Settings, connections: Collection[Connection]) -> None:
        self._settings = settings
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None
        self.period = min(_ROUND_S, *(limit / 4 for limit in _limits(settings)))

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.period, self._go_round)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _go_round(self) -> None:
        now = monotonic()
        for connection in list(self._connections):
            self.check(connection, now)
        self.start()

    def check(self, connection: Connection, now: float) -> None:
        """Does what is due about one connection."""
        settings = self._settings
        if not connection.has_spoken:
            if now - connection.opened_at > settings.handshake_timeout:
                connection.abort()
        elif not connection.sweep(now - settings.message_timeout, settings.stall_timeout / self.period):
            connection.abort()
        elif connection.is_draining:
            if connection.drained_at and now - connection.drained_at > settings.max_connection_age_grace:
                connection.terminate(_NO_ERROR, b"max_age")
        elif self._is_to_leave(connection, now):
            connection.drained_at = now
            connection.drain()
        else:
            keep_alive(connection, settings, now)

    def _is_to_leave(self, connection: Connection, now: float) -> bool:
        if not connection.age_limit:
            connection.age_limit = self._settings.max_connection_age * (1 + _JITTER * (2 * random() - 1))
        is_idle = not connection.streams and now - connection.busy_at > self._settings.max_connection_idle
        return is_idle or now - connection.opened_at > connection.age_limit


def keep_alive(connection: Alive, settings: Settings, now: float) -> None:
    """Sends a PING into silence, and gives up a connection that stays silent; whatever is heard after it answers it."""
    if connection.keepalive_sent_at > connection.read_at:
        if now - connection.keepalive_sent_at > settings.keepalive_timeout:
            connection.abort()
    elif now - connection.read_at > settings.keepalive_time and (
        connection.streams or settings.keepalive_without_calls
    ):
        connection.keepalive_sent_at = now
        connection.ping(_PING)


def _limits(settings: Settings) -> list[float]:
    return [
        settings.handshake_timeout,
        settings.message_timeout,
        settings.stall_timeout,
        settings.keepalive_time,
        settings.keepalive_timeout,
        settings.max_connection_idle,
        settings.max_connection_age,
        settings.max_connection_age_grace,
    ]

"""The connections to several addresses, and which of them take turns.

Source: gRPC's load-balancing.md, policy round_robin: who is not READY is left out, unless nobody is.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import grpc

from yais.clients.siege.traffic.lines import CountingLine
from yais.clients.siege.traffic.turns import Turns

Open = Callable[[str], tuple[grpc.aio.Channel, CountingLine]]
"""Opens a line to an address, and the channel that makes its connection and keeps it."""

_DOWN = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.TRANSIENT_FAILURE)


class Connection:
    """Stays connected; calls `changed` whenever its `state` has.

    `has_settled` once it was connected, or could not be.
    """

    def __init__(self, channel: grpc.aio.Channel, line: CountingLine, changed: Callable[[], None]) -> None:
        self.line = line
        self.state = grpc.ChannelConnectivity.IDLE
        self.has_settled = False
        self._channel = channel
        self._changed = changed
        self._following = asyncio.create_task(self._follow())

    @property
    def is_ready(self) -> bool:
        return self.state is grpc.ChannelConnectivity.READY

    async def close(self, grace: float | None = None) -> None:
        """What is on its way has `grace` seconds to end. Raises what went wrong meanwhile."""
        self._following.cancel()
        with suppress(asyncio.CancelledError):
            await self._following
        await self._channel.close(grace)

    async def _follow(self) -> None:
        while True:
            state = self._channel.get_state(try_to_connect=True)
            if state is not self.state:
                self.state = state
                self.has_settled |= self.is_ready or state is grpc.ChannelConnectivity.TRANSIENT_FAILURE
                self._changed()
            await self._channel.wait_for_state_change(state)


class Spread:
    """Keeps as many connections to each address as asked for; those that are connected take their `turns`.

    Where none is, all do: their calls wait or fail as those of one lost connection do. `lost` is set whenever a
    connection is lost or cannot be made. An address that vanishes gets no more calls, and `grace` seconds for those
    on their way.
    """

    def __init__(self, open_to: Open, connections: int, addresses: Sequence[str], grace: float) -> None:
        self.turns = Turns(())
        self.lost = asyncio.Event()
        self._open = open_to
        self._count = connections
        self._grace = grace
        self._connections: dict[str, list[Connection]] = {}
        # All that ever were, with their addresses.
        self._lines: list[tuple[str, CountingLine]] = []
        self._closing: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self.keep(addresses)

    def keep(self, addresses: Sequence[str]) -> None:
        """Opens what is new, and leaves what is no longer there; `addresses` are not empty."""
        for gone in self._connections.keys() - set(addresses):
            for connection in self._connections.pop(gone):
                self._leave(connection)
        for new in dict.fromkeys(addresses):
            if new not in self._connections:
                self._connections[new] = [self._connect(new) for _ in range(self._count)]
        self._update()

    async def settle(self) -> None:
        """Waits until one is connected and each of the others is, or could not be."""
        while not (self._ready and all(each.has_settled for each in self._all)):
            self._changed.clear()
            await self._changed.wait()

    @property
    def is_ready(self) -> bool:
        return bool(self._ready)

    @property
    def unconnected(self) -> list[str]:
        """The addresses that lack a connection."""
        return [name for name, those in self._connections.items() if not all(each.is_ready for each in those)]

    def counts(self) -> dict[str, int]:
        """How many requests went to each address, those that were sent again and those of the warm-up among them."""
        counts: Counter[str] = Counter()
        for address, line in self._lines:
            counts[address] += line.sent
        return dict(counts)

    async def close(self) -> None:
        """Ends it all, and cancels what is on its way. Raises what went wrong meanwhile."""
        await asyncio.gather(*(connection.close() for connection in self._all), *self._closing)

    @property
    def _all(self) -> list[Connection]:
        """In turn: the first of each address, then the second of each."""
        return [connection for row in zip(*self._connections.values(), strict=True) for connection in row]

    @property
    def _ready(self) -> list[Connection]:
        return [connection for connection in self._all if connection.is_ready]

    def _connect(self, address: str) -> Connection:
        channel, line = self._open(address)
        self._lines.append((address, line))
        connection = Connection(channel, line, lambda: self._note(connection))
        return connection

    def _leave(self, connection: Connection) -> None:
        self._closing.append(asyncio.create_task(connection.close(self._grace)))

    def _note(self, connection: Connection) -> None:
        if connection.state in _DOWN:
            self.lost.set()
        self._update()

    def _update(self) -> None:
        self.turns.change([connection.line for connection in self._ready or self._all])
        self._changed.set()

"""Balancer of calls over the subchannels to all addresses of a target, by round robin.

Source: gRPC's load-balancing.md, policy round_robin: who is not READY is left out, unless nobody is.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import click
import grpc

from yais.clients.channel import HostPort, ParsedTarget, join_address, parse_target
from yais.clients.siege.transports import CountingCallable, TransportName, UnaryCallable, open_callable

OpenCallable = Callable[[str], tuple[grpc.aio.Channel, CountingCallable]]
"""Opens a callable to an address, and the channel that makes its connection and keeps it."""

_DOWN = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.TRANSIENT_FAILURE)

Resolve = Callable[[HostPort], Awaitable[Sequence[str]]]
"""Gives the addresses of a name, at least one. Raises OSError when there are none."""


class RoundRobinPicker:
    """Picks the callables in turn: `pick()` gives one after the other. `update` changes them meanwhile.

    A pick comes with every request, and costs no more than `next(cycle)` does.
    """

    __slots__ = ("pick",)

    pick: Callable[[], UnaryCallable]

    def __init__(self, callables: Sequence[UnaryCallable]) -> None:
        self.update(callables)

    def update(self, callables: Sequence[UnaryCallable]) -> None:
        self.pick = cycle(callables).__next__


class Subchannel:
    """Stays connected; calls `changed` whenever its `state` has.

    `has_settled` once it was connected, or could not be; `losses` counts how often a connection went down.
    """

    def __init__(self, channel: grpc.aio.Channel, send: CountingCallable, changed: Callable[[], None]) -> None:
        self.send = send
        self.state = grpc.ChannelConnectivity.IDLE
        self.has_settled = False
        self.losses = 0
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
            # A channel that is IDLE, as after a GOAWAY, does not connect by itself.
            state = self._channel.get_state(try_to_connect=True)
            if state is not self.state:
                # `is_ready` still tells the state before this one: a connection that was up went down.
                self.losses += self.is_ready
                self.state = state
                self.has_settled |= self.is_ready or state is grpc.ChannelConnectivity.TRANSIENT_FAILURE
                self._changed()
            await self._channel.wait_for_state_change(state)


class RoundRobinBalancer:
    """Keeps as many subchannels to each address as asked for; those that are connected are picked in turn.

    Where none is, all do: their calls wait or fail as those of one lost connection do. `lost` is set whenever a
    connection is lost or cannot be made. An address that vanishes gets no more calls, and `grace` seconds for those
    on their way.
    """

    def __init__(self, open_to: OpenCallable, connections: int, addresses: Sequence[str], grace: float) -> None:
        self.picker = RoundRobinPicker(())
        self.lost = asyncio.Event()
        self._open = open_to
        self._count = connections
        self._grace = grace
        self._subchannels: dict[str, list[Subchannel]] = {}
        # All that ever were.
        self._opened: list[tuple[str, Subchannel]] = []
        self._closing: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self.update_addresses(addresses)

    def update_addresses(self, addresses: Sequence[str]) -> None:
        """Opens what is new, and leaves what is no longer there; `addresses` are not empty."""
        for gone in self._subchannels.keys() - set(addresses):
            for subchannel in self._subchannels.pop(gone):
                self._closing.append(asyncio.create_task(subchannel.close(self._grace)))
        for new in dict.fromkeys(addresses):
            if new not in self._subchannels:
                self._subchannels[new] = [self._connect(new) for _ in range(self._count)]
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
        return [name for name, those in self._subchannels.items() if not all(each.is_ready for each in those)]

    def counts(self) -> dict[str, int]:
        """How many requests went to each address, those that were sent again and those of the warm-up among them."""
        counts: Counter[str] = Counter()
        for address, subchannel in self._opened:
            counts[address] += subchannel.send.sent
        return dict(counts)

    @property
    def losses(self) -> int:
        """How many connections went down, those to addresses that have vanished among them."""
        return sum(subchannel.losses for _, subchannel in self._opened)

    async def close(self) -> None:
        """Ends it all, and cancels what is on its way. Raises what went wrong meanwhile."""
        await asyncio.gather(*(subchannel.close() for subchannel in self._all), *self._closing)

    @property
    def _all(self) -> list[Subchannel]:
        """In turn: the first of each address, then the second of each."""
        return [subchannel for row in zip(*self._subchannels.values(), strict=True) for subchannel in row]

    @property
    def _ready(self) -> list[Subchannel]:
        return [subchannel for subchannel in self._all if subchannel.is_ready]

    def _connect(self, address: str) -> Subchannel:
        channel, send = self._open(address)

        def note() -> None:
            if subchannel.state in _DOWN:
                self.lost.set()
            self._update()

        subchannel = Subchannel(channel, send, note)
        self._opened.append((address, subchannel))
        return subchannel

    def _update(self) -> None:
        self.picker.update([subchannel.send for subchannel in self._ready or self._all])
        self._changed.set()


@dataclass(frozen=True, slots=True)
class ResolveInterval:
    """When a name is resolved again, in seconds after the last time.

    `maximum` is when all is well, since nothing else announces new addresses; when a connection is lost or cannot be
    made, it is at once, but not before `minimum`.
    """

    minimum: float = 5.0
    maximum: float = 30.0


async def resolve_host(name: HostPort) -> tuple[str, ...]:
    """What the system knows, in its order of preference; it does not say for how long that holds."""
    found = await asyncio.get_running_loop().getaddrinfo(name.host, name.port)
    # getaddrinfo() gives an address once for each type of socket.
    return tuple(dict.fromkeys(_format_address(*sockaddr) for *_, sockaddr in found))


_INTERVAL = ResolveInterval()


class Resolver:
    """Name resolver of a target; the addresses that a target lists itself are never resolved again."""

    def __init__(
        self, target: ParsedTarget, resolve: Resolve = resolve_host, interval: ResolveInterval = _INTERVAL
    ) -> None:
        self._target = target
        self._resolve = resolve
        self._interval = interval

    async def addresses(self) -> Sequence[str]:
        """Raises click's exception for a name that has none."""
        if self._target.name is None:
            return self._target.addresses
        try:
            return await self._resolve(self._target.name)
        except OSError as error:
            raise click.ClickException(f"{self._target.text}: the name cannot be resolved: {error}") from error

    async def run(self, update: Callable[[Sequence[str]], None], lost: asyncio.Event) -> None:
        """Gives `update` the addresses again and again; `lost` is set when a connection was.

        A name that cannot be resolved any more is warned of, once, and keeps the addresses that it had.
        """
        if self._target.name is None:
            return
        is_known = True
        while True:
            await self._wait(lost)
            try:
                update(await self._resolve(self._target.name))
                is_known = True
            except OSError as error:
                if is_known:
                    click.echo(f"warning: {self._target.text}: its addresses stay as they were: {error}", err=True)
                is_known = False

    async def _wait(self, lost: asyncio.Event) -> None:
        # As gRPC's clients do (C-core: GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS): a server that is down must not
        # become a flood of queries.
        await asyncio.sleep(self._interval.minimum)
        try:
            async with asyncio.timeout(self._interval.maximum - self._interval.minimum):
                await lost.wait()
        except TimeoutError:
            return
        finally:
            # The resolution that follows is the answer to every loss until now.
            lost.clear()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Which way calls of `method` go: on `connections` to each address of `target`, which is as gRPC spells it."""

    transport: TransportName
    target: str
    method: str
    connections: int = 1


@asynccontextmanager
async def connect(
    endpoint: Endpoint, within: float, resolve: Resolve = resolve_host, interval: ResolveInterval = _INTERVAL
) -> AsyncIterator[RoundRobinBalancer]:
    """Connections to the endpoint, one at least `within` seconds; as many as there can be, all through.

    Raises click's exception when there is none, ValueError for a target that cannot be.
    """
    target = parse_target(endpoint.target)
    # Calls name the server as the user did, though a subchannel only knows an address: virtual hosts go by it.
    authority = None if target.name is None else str(target.name)
    resolver = Resolver(target, resolve, interval)
    balancer = RoundRobinBalancer(
        lambda address: open_callable(endpoint.transport, address, endpoint.method, authority),
        endpoint.connections,
        await resolver.addresses(),
        grace=within,
    )
    try:
        await _wait_until_connected(balancer, endpoint.target, within)
        async with background_tasks(resolver.run(balancer.update_addresses, balancer.lost)):
            yield balancer
    finally:
        await balancer.close()


@asynccontextmanager
async def background_tasks(*awaitables: Awaitable[Any]) -> AsyncIterator[None]:
    """Runs these beside the block, and cancels what is left of them at its end; raises what went wrong in them.

    An `asyncio.TaskGroup` would wait for them instead.
    """
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def _format_address(host: str, port: int, flow: int = 0, scope: int = 0) -> str:
    # A link-local address of IPv6 needs its scope.
    return join_address(f"{host}%{scope}" if scope and "%" not in host else host, port)


async def _wait_until_connected(balancer: RoundRobinBalancer, target: str, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            # All of them, so that the first requests are spread as the later ones are; too slow ones get theirs later.
            await balancer.settle()
    except TimeoutError:
        if not balancer.is_ready:
            raise click.ClickException(f"{target}: no connection within {within} s") from None
    for address in balancer.unconnected:
        click.echo(f"warning: {address}: no connection yet; calls go there as soon as there is one", err=True)

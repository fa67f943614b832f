import asyncio
from collections.abc import Sequence
from itertools import islice

import grpc
import pytest
from clients.fake_callable import FakeCallable

from yais.clients.siege.balancer import RoundRobinBalancer, RoundRobinPicker
from yais.clients.siege.transports import CountingCallable, RawCallable

State = grpc.ChannelConnectivity
READY, CONNECTING, IDLE, FAILED = State.READY, State.CONNECTING, State.IDLE, State.TRANSIENT_FAILURE


class FakeChannel:
    """A connection that is whatever a test says."""

    def __init__(self) -> None:
        self.state = IDLE
        self.grace: float | None = None
        self.is_closed = False
        self.error: Exception | None = None
        self.has_drained = asyncio.Event()
        self.has_drained.set()
        self._changed = asyncio.Event()

    def get_state(self, try_to_connect: bool = False) -> State:
        if self.state is IDLE and try_to_connect:
            self.state = CONNECTING
        return self.state

    async def wait_for_state_change(self, last: State) -> None:
        while self.state is last:
            self._changed.clear()
            await self._changed.wait()
            if self.error is not None:
                raise self.error

    async def close(self, grace: float | None = None) -> None:
        self.grace = grace
        await self.has_drained.wait()
        self.is_closed = True

    async def become(self, state: State) -> None:
        self.state = state
        self._changed.set()
        await seen()


async def seen() -> None:
    """Whoever waits for something has noticed."""
    for _ in range(20):
        await asyncio.sleep(0)


class Network:
    """Opens lines that lead nowhere, and keeps what it opened."""

    def __init__(self) -> None:
        self.channels: dict[str, list[FakeChannel]] = {}
        self._names: dict[CountingCallable, str] = {}

    def open(self, address: str) -> tuple[grpc.aio.Channel, CountingCallable]:
        channel, line = FakeChannel(), RawCallable(FakeCallable(), FakeCallable())
        self.channels.setdefault(address, []).append(channel)
        self._names[line] = address
        return channel, line  # type: ignore[return-value]

    async def connect(self, *addresses: str) -> None:
        for address in addresses:
            for channel in self.channels[address]:
                await channel.become(READY)

    def send(self, balancer: RoundRobinBalancer, requests: int) -> list[str]:
        """The addresses that they went to."""
        lines = [balancer.picker.pick() for _ in range(requests)]
        for line in lines:
            line(b"", lambda call: None, 1.0)
        return [self._names[line] for line in lines]  # type: ignore[index]


@pytest.fixture
def network() -> Network:
    return Network()


def spread_over(network: Network, addresses: Sequence[str], connections: int = 1) -> RoundRobinBalancer:
    return RoundRobinBalancer(network.open, connections, addresses, grace=7.0)


async def connected(network: Network, addresses: Sequence[str], connections: int = 1) -> RoundRobinBalancer:
    balancer = spread_over(network, addresses, connections)
    await network.connect(*addresses)
    return balancer


def test_turns_go_round_and_begin_anew_when_the_lines_change() -> None:
    first, second, third = FakeCallable(), FakeCallable(), FakeCallable()
    picker = RoundRobinPicker([first, second])
    assert list(islice(iter(picker.pick, None), 1001)) == [first, second] * 500 + [first]
    picker.update([second, third])
    assert [picker.pick(), picker.pick(), picker.pick()] == [second, third, second]


async def test_the_addresses_take_turns_whatever_the_connections_to_each(network: Network) -> None:
    balancer = await connected(network, ["a", "b", "c"], connections=2)
    assert network.send(balancer, 7) == ["a", "b", "c", "a", "b", "c", "a"]
    assert balancer.counts() == {"a": 3, "b": 2, "c": 2}
    await balancer.close()


async def test_each_connection_of_an_address_has_its_turn(network: Network) -> None:
    balancer = await connected(network, ["a", "b"], connections=3)
    assert len({balancer.picker.pick() for _ in range(6)}) == 6
    await balancer.close()


@pytest.mark.parametrize("state", [IDLE, CONNECTING, FAILED])
async def test_an_address_that_is_lost_is_left_out_until_it_is_back(network: Network, state: State) -> None:
    balancer = await connected(network, ["a", "b"])
    await network.channels["b"][0].become(state)
    assert network.send(balancer, 4) == ["a"] * 4
    assert balancer.unconnected == ["b"]
    await network.connect("b")
    assert network.send(balancer, 4) == ["a", "b", "a", "b"]
    assert balancer.unconnected == []
    await balancer.close()


async def test_a_connection_that_is_lost_leaves_the_others_of_its_address(network: Network) -> None:
    balancer = await connected(network, ["a", "b"], connections=2)
    await network.channels["a"][0].become(FAILED)
    assert sorted(network.send(balancer, 6)) == ["a", "a", "b", "b", "b", "b"]
    await balancer.close()


async def test_a_lost_connection_is_made_again_at_once(network: Network) -> None:
    balancer = await connected(network, ["a", "b"])
    await network.channels["b"][0].become(IDLE)
    assert network.channels["b"][0].state is CONNECTING
    await balancer.close()


async def test_all_take_turns_where_none_is_connected(network: Network) -> None:
    balancer = await connected(network, ["a", "b"])
    for address in "ab":
        await network.channels[address][0].become(FAILED)
    assert network.send(balancer, 4) == ["a", "b", "a", "b"]
    assert not balancer.is_ready
    await balancer.close()


async def test_a_new_address_is_called_once_it_is_connected(network: Network) -> None:
    balancer = await connected(network, ["a"])
    balancer.update_addresses(["b", "a"])
    await seen()
    assert network.send(balancer, 2) == ["a", "a"]
    await network.connect("b")
    assert network.send(balancer, 4) == ["a", "b", "a", "b"]
    assert [len(channels) for channels in network.channels.values()] == [1, 1]
    await balancer.close()


async def test_an_address_that_vanished_is_called_no_more_and_drains(network: Network) -> None:
    balancer = await connected(network, ["a", "b"], connections=2)
    gone = network.channels["b"]
    for channel in gone:
        channel.has_drained.clear()
    balancer.update_addresses(["a"])
    assert network.send(balancer, 3) == ["a"] * 3
    await seen()
    assert [(channel.grace, channel.is_closed) for channel in gone] == [(7.0, False)] * 2
    for channel in gone:
        channel.has_drained.set()
    await seen()
    assert all(channel.is_closed for channel in gone)
    assert not any(channel.is_closed for channel in network.channels["a"])
    await balancer.close()


async def test_the_end_waits_for_what_still_drains(network: Network) -> None:
    balancer = await connected(network, ["a", "b"])
    gone = network.channels["b"][0]
    gone.has_drained.clear()
    balancer.update_addresses(["a"])
    closing = asyncio.create_task(balancer.close())
    await seen()
    assert not closing.done()
    gone.has_drained.set()
    await closing
    assert gone.is_closed
    assert network.channels["a"][0].is_closed


async def test_the_counts_of_an_address_outlive_it_and_go_on_when_it_is_back(network: Network) -> None:
    balancer = await connected(network, ["a", "b"])
    network.send(balancer, 4)
    balancer.update_addresses(["a"])
    network.send(balancer, 3)
    assert balancer.counts() == {"a": 5, "b": 2}
    balancer.update_addresses(["a", "b"])
    await network.connect("b")
    network.send(balancer, 2)
    assert balancer.counts() == {"a": 6, "b": 3}
    await balancer.close()


async def test_an_address_that_never_was_connected_is_counted_as_none(network: Network) -> None:
    balancer = spread_over(network, ["a", "b"])
    await network.connect("a")
    network.send(balancer, 2)
    assert balancer.counts() == {"a": 2, "b": 0}
    await balancer.close()


async def test_it_settles_when_all_are_connected(network: Network) -> None:
    balancer = spread_over(network, ["a", "b"])
    settling = asyncio.create_task(balancer.settle())
    await network.connect("a")
    assert not settling.done()
    await network.connect("b")
    assert settling.done()
    await balancer.close()


async def test_it_does_not_wait_for_who_cannot_be_connected_but_for_one_who_can(network: Network) -> None:
    balancer = spread_over(network, ["a", "b"])
    settling = asyncio.create_task(balancer.settle())
    await network.channels["a"][0].become(FAILED)
    await network.channels["b"][0].become(FAILED)
    assert not settling.done()
    await network.connect("b")
    assert settling.done()
    assert balancer.unconnected == ["a"]
    await balancer.close()


@pytest.mark.parametrize(("state", "is_loss"), [(IDLE, True), (FAILED, True), (CONNECTING, False)])
async def test_a_loss_is_told(network: Network, state: State, is_loss: bool) -> None:
    balancer = await connected(network, ["a", "b"])
    assert not balancer.lost.is_set()
    # What is idle begins to connect as it is looked at.
    network.channels["b"][0].get_state = lambda try_to_connect=False: state  # type: ignore[method-assign]
    await network.channels["b"][0].become(state)
    assert balancer.lost.is_set() == is_loss
    await balancer.close()


async def test_what_goes_wrong_with_a_connection_is_raised_at_the_end(network: Network) -> None:
    balancer = await connected(network, ["a"])
    network.channels["a"][0].error = RuntimeError("no such state")
    await network.channels["a"][0].become(FAILED)
    with pytest.raises(RuntimeError, match="no such state"):
        await balancer.close()

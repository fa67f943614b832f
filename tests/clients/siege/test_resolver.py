import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
import pytest
from clients.simulated_time import SimulatedLoop

from yais.clients.channel import HostPort, parse_target
from yais.clients.siege.balancer import (
    Resolve,
    ResolveInterval,
    Resolver,
    background_tasks,
    resolve_host,
)

TARGET = parse_target("dns:///models:80")


class Names:
    """What is known of a name: `answer`, or an error; and when it was asked for."""

    def __init__(self, answer: Sequence[str] | OSError) -> None:
        self.answer = answer
        self.asked: list[float] = []

    async def resolve(self, name: HostPort) -> Sequence[str]:
        assert name == TARGET.name
        self.asked.append(asyncio.get_running_loop().time())
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def simulated(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(work())


@asynccontextmanager
async def kept(names: Names, lost: asyncio.Event, interval: ResolveInterval) -> AsyncIterator[list[Sequence[str]]]:
    """All answers that were taken since the beginning."""
    taken: list[Sequence[str]] = []
    async with background_tasks(Resolver(TARGET, names.resolve, interval).run(taken.append, lost)):
        yield taken


async def test_a_name_is_resolved_by_the_system() -> None:
    assert "127.0.0.1:80" in await resolve_host(HostPort("localhost", 80))
    assert await resolve_host(HostPort("127.0.0.3", 80)) == ("127.0.0.3:80",)
    assert await resolve_host(HostPort("::1", 80)) == ("[::1]:80",)


def answering(*addresses: tuple[Any, ...]) -> Resolve:
    async def look_up(name: HostPort) -> Sequence[str]:
        async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            return [(family, kind, 0, "", address) for kind in (1, 1) for family, address in enumerate(addresses)]

        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "getaddrinfo", getaddrinfo)
            return await resolve_host(name)

    return look_up


async def test_addresses_come_once_each_in_the_system_s_order() -> None:
    look_up = answering(("::2", 80, 0, 0), ("10.0.0.2", 80), ("10.0.0.1", 80), ("fe80::1", 80, 0, 3))
    assert await look_up(HostPort("models", 80)) == ("[::2]:80", "10.0.0.2:80", "10.0.0.1:80", "[fe80::1%3]:80")


async def test_a_list_needs_no_names() -> None:
    names = Names(["10.0.0.9:80"])
    assert await Resolver(parse_target("ipv4:10.0.0.1:80,10.0.0.2:80"), names.resolve).addresses() == (
        "10.0.0.1:80",
        "10.0.0.2:80",
    )
    assert await Resolver(TARGET, names.resolve).addresses() == ["10.0.0.9:80"]


async def test_a_name_without_addresses_is_an_error_that_says_which() -> None:
    names = Names(socket.gaierror(-2, "Name or service not known"))
    with pytest.raises(click.ClickException) as raised:
        await Resolver(TARGET, names.resolve).addresses()
    assert raised.value.message == (
        "dns:///models:80: the name cannot be resolved: [Errno -2] Name or service not known"
    )
    assert raised.value.exit_code == 1


def test_a_name_is_resolved_again_from_time_to_time() -> None:
    async def work() -> None:
        names, began = Names(["a"]), asyncio.get_running_loop().time()
        async with kept(names, asyncio.Event(), ResolveInterval(5, 30)) as taken:
            await asyncio.sleep(45)
            names.answer = ["a", "b"]
            await asyncio.sleep(50)
        assert [at - began for at in names.asked] == pytest.approx([30, 60, 90])
        assert taken == [["a"], ["a", "b"], ["a", "b"]]

    simulated(work)


def test_a_loss_has_it_resolved_at_once_but_not_again_and_again() -> None:
    async def work() -> None:
        names, lost, began = Names(["a"]), asyncio.Event(), asyncio.get_running_loop().time()
        async with kept(names, lost, ResolveInterval(5, 30)):
            for at in (2, 12, 13, 17.5, 18, 40):
                await asyncio.sleep(began + at - asyncio.get_running_loop().time())
                lost.set()
            await asyncio.sleep(1)
        assert [at - began for at in names.asked] == pytest.approx([5, 12, 17, 22, 40])

    simulated(work)


def test_a_name_that_is_not_found_any_more_keeps_its_addresses_and_is_warned_of_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def work() -> None:
        names = Names(["a"])
        async with kept(names, asyncio.Event(), ResolveInterval(5, 30)) as taken:
            await asyncio.sleep(45)
            names.answer = socket.gaierror(-3, "Temporary failure in name resolution")
            await asyncio.sleep(60)
            assert len(taken) == 1
            names.answer = ["b"]
            await asyncio.sleep(30)
            assert taken == [["a"], ["b"]]
            names.answer = socket.gaierror(-2, "Name or service not known")
            await asyncio.sleep(30)

    simulated(work)
    assert capsys.readouterr().err.splitlines() == [
        "warning: dns:///models:80: its addresses stay as they were: [Errno -3] Temporary failure in name resolution",
        "warning: dns:///models:80: its addresses stay as they were: [Errno -2] Name or service not known",
    ]


async def test_a_list_is_never_resolved() -> None:
    names = Names(["a"])
    target = parse_target("ipv4:10.0.0.1:80,10.0.0.2:80")
    await asyncio.wait_for(Resolver(target, names.resolve, ResolveInterval(0, 0)).run(print, asyncio.Event()), 10)
    assert names.asked == []

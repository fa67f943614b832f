import asyncio
from functools import partial

import pytest
from clients.siege.chaos.network import Asleep, echo, gone, proxied, proxy_to, served

from yais.clients.siege.chaos.h2 import abort
from yais.clients.siege.chaos.toxics import ConfiguredToxic, Reset

HELLO = b"hello, is there anybody?"


async def note_end(ends: "asyncio.Queue[str]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        ends.put_nowait(f"ended after {await reader.read()!r}")
    except ConnectionResetError:
        ends.put_nowait("reset")


async def test_a_reset_comes_as_a_reset_and_when_it_should() -> None:
    clock = Asleep()
    async with proxied(ConfiguredToxic(Reset(5.0), stream="up"), clock=clock) as (reader, writer):
        writer.write(HELLO)
        assert await reader.readexactly(len(HELLO)) == HELLO
        assert clock.slept == [5.0]
        clock.woken.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_the_server_is_reset_as_well() -> None:
    ends: asyncio.Queue[str] = asyncio.Queue()
    async with proxied(ConfiguredToxic(Reset()), talk=partial(note_end, ends)):
        assert await ends.get() == "reset"


async def test_a_client_that_resets_its_connection_has_the_server_see_a_reset() -> None:
    ends: asyncio.Queue[str] = asyncio.Queue()
    async with proxied(talk=partial(note_end, ends)) as (_, writer):
        writer.write(HELLO)
        abort(writer)
        assert await ends.get() == "reset"


async def test_a_server_that_cannot_be_reached_resets_the_client(unused_tcp_port: int) -> None:
    proxy = proxy_to(unused_tcp_port)
    async with asyncio.timeout(20), proxy.listening() as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await gone(writer)


async def test_closing_the_proxy_ends_its_connections() -> None:
    async with served(echo) as port:
        async with proxy_to(port).listening() as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front)
            writer.write(HELLO)
            await reader.readexactly(len(HELLO))
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        await gone(writer)

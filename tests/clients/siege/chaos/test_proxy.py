import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from types import SimpleNamespace

import pytest
from clients.siege.chaos.network import Asleep, Clock, echo, gone, proxied, proxy_to, served

from yais.clients.siege.chaos.toxics import (
    Bandwidth,
    Blackhole,
    Chunk,
    ConfiguredToxic,
    Latency,
    LimitData,
    Slicer,
    SlowClose,
    Timeout,
)

HELLO = b"hello, is there anybody?"


async def until(condition: Callable[[], bool]) -> None:
    """Lets others run until it is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def nothing_comes(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), 0.05)
    except TimeoutError:
        return True
    return False


async def test_without_toxics_everything_comes_through() -> None:
    sent = bytes(range(256)) * 4096
    async with proxied() as (reader, writer):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.write_eof()
        assert await reader.read() == b""


async def test_latency_delays_each_way_by_its_own_draw() -> None:
    clock = Clock()
    async with proxied(ConfiguredToxic(Latency(0.5, 0.1)), clock=clock) as (reader, writer):
        writer.write(HELLO)
        assert await reader.readexactly(len(HELLO)) == HELLO
    assert len(clock.slept) == 2
    assert all(0.4 <= slept <= 0.6 for slept in clock.slept)
    assert clock.slept[0] != clock.slept[1]


async def test_latency_counts_from_when_a_chunk_came() -> None:
    clock = Clock()

    async def chunks() -> AsyncIterator[Chunk]:
        yield Chunk(b"x", 100.0)
        yield Chunk(b"y", 100.2)

    link = SimpleNamespace(random=Random(0), now=clock.now, sleep=clock.sleep)
    out = [chunk async for chunk in Latency(1.0).apply(chunks(), link)]  # type: ignore[arg-type]
    assert [chunk.at for chunk in out] == [101.0, 101.2]
    assert clock.slept == pytest.approx([1.0, 0.2])


async def test_a_direction_that_is_not_meant_is_spared() -> None:
    clock = Clock()
    async with proxied(ConfiguredToxic(Latency(0.5), stream="up"), clock=clock) as (reader, writer):
        writer.write(HELLO)
        await reader.readexactly(len(HELLO))
    assert clock.slept == pytest.approx([0.5])


async def test_bandwidth_takes_as_long_as_the_bytes_do() -> None:
    clock, sent = Clock(), bytes(1000)
    async with proxied(ConfiguredToxic(Bandwidth(2000), stream="down"), clock=clock) as (reader, writer):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
    assert sum(clock.slept) == pytest.approx(0.5)
    assert max(clock.slept) <= 0.05


async def test_a_slicer_cuts_and_loses_nothing() -> None:
    clock = Clock()
    received: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            received.append(data)
            writer.write(data)

    async with proxied(ConfiguredToxic(Slicer(3, 0.01), stream="up"), talk=note, clock=clock) as (reader, writer):
        writer.write(HELLO)
        assert await reader.readexactly(len(HELLO)) == HELLO
        await until(lambda: len(clock.slept) >= len(HELLO) / 3)
    assert set(clock.slept) == {0.01}
    assert b"".join(received) == HELLO


async def test_a_timeout_lets_nothing_through_and_then_closes() -> None:
    clock = Asleep()
    async with proxied(ConfiguredToxic(Timeout(5.0), stream="up"), clock=clock) as (reader, writer):
        writer.write(HELLO)
        assert await nothing_comes(reader)
        assert clock.slept == [5.0]
        clock.woken.set()
        assert await reader.read() == b""


async def test_a_black_hole_swallows_even_the_end() -> None:
    async with proxied(ConfiguredToxic(Blackhole(), stream="up")) as (reader, writer):
        writer.write(HELLO)
        writer.write_eof()
        assert await nothing_comes(reader)


async def test_a_slow_close_holds_back_only_the_end() -> None:
    clock = Asleep()
    async with proxied(ConfiguredToxic(SlowClose(3.0), stream="up"), clock=clock) as (reader, writer):
        writer.write(HELLO)
        writer.write_eof()
        assert await reader.readexactly(len(HELLO)) == HELLO
        assert await nothing_comes(reader)
        assert clock.slept == [3.0]
        clock.woken.set()
        assert await reader.read() == b""


async def test_a_limit_on_data_closes_after_so_many_bytes() -> None:
    async with proxied(ConfiguredToxic(LimitData(10), stream="down")) as (reader, writer):
        writer.write(HELLO[:4])
        assert await reader.readexactly(4) == HELLO[:4]
        writer.write(HELLO[4:])
        assert await reader.read() == HELLO[4:10]


async def test_a_probability_is_the_share_of_the_connections() -> None:
    async def befallen(seed: str) -> list[bool]:
        async with served(echo) as port:
            proxy, found = proxy_to(port, ConfiguredToxic(LimitData(1), 0.5, "down"), seed=seed), []
            async with asyncio.timeout(30), proxy.listening() as front:
                for _ in range(40):
                    reader, writer = await asyncio.open_connection("127.0.0.1", front)
                    writer.write(b"ab")
                    writer.write_eof()
                    found.append(await reader.read() == b"a")
                    await gone(writer)
        assert proxy.connections == 40
        return found

    first = await befallen("a")
    assert 8 <= sum(first) <= 32
    assert await befallen("a") == first
    assert await befallen("b") != first


async def test_a_toxic_befalls_both_directions_of_a_connection_or_none() -> None:
    async def delays(seed: str) -> int:
        clock = Clock()
        async with proxied(ConfiguredToxic(Latency(0.5), 0.5), clock=clock, seed=seed) as (reader, writer):
            writer.write(HELLO)
            await reader.readexactly(len(HELLO))
        return len(clock.slept)

    assert {await delays(str(seed)) for seed in range(12)} == {0, 2}


async def test_toxics_work_in_their_order() -> None:
    clock = Clock()
    toxics = (ConfiguredToxic(LimitData(4), stream="up"), ConfiguredToxic(Latency(1.0), stream="up"))
    async with proxied(*toxics, clock=clock) as (_, writer):
        writer.write(HELLO)
        await until(lambda: bool(clock.slept))
    assert clock.slept == pytest.approx([1.0])


async def test_a_reader_that_does_not_read_holds_the_writer_back() -> None:
    poured = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal poured
        while True:
            writer.write(bytes(2**20))
            await writer.drain()
            poured += 2**20

    async with proxied(talk=pour) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while poured != before:
            before = poured
            await asyncio.sleep(0.2)
    assert poured < 64 * 2**20

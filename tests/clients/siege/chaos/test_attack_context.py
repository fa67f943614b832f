import asyncio

import pytest
from clients.siege.chaos.network import served
from clients.siege.chaos.runs import request, running

from yais.clients.siege.chaos.invariants import OK, CounterRange
from yais.clients.siege.chaos.runner import AttackContext


def context_at(port: int, seconds: float = 0.0, timeout: float = 10.0) -> AttackContext:
    end = asyncio.get_running_loop().time() + seconds
    return AttackContext(
        host="127.0.0.1",
        port=port,
        transport="grpcio",
        request=request(),
        seed="0",
        end=end,
        timeout=timeout,
    )


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_of_a_request_that_is_answered_it_is_known_what_the_server_counts() -> None:
    with running() as fake:
        context = context_at(fake.port)
        async with context.connect() as peer:
            peer.greet()
            peer.start_reading()
            assert await context.call(peer, context.valid, "8760H") == OK
    assert context.counters.successes == CounterRange(1, 1)


async def test_of_a_request_whose_connection_is_lost_nobody_knows_whether_it_arrived() -> None:
    async with served(hang_up) as port:
        context = context_at(port)
        async with context.connect() as peer:
            peer.start_reading()
            assert await context.call(peer, context.valid) is None
            # From here on it cannot even be sent.
            with pytest.raises(ConnectionError):
                await context.call(peer, context.valid)
    assert context.counters.received(True) == CounterRange(0, 2)


async def test_a_request_that_is_left_without_any_answer_is_unexpected() -> None:
    async with served(say_nothing) as port:
        context = context_at(port, timeout=0.01)
        async with context.connect() as peer:
            assert await context.call(peer, context.valid, "1u") is None
            assert await context.call(peer, context.valid) is None
    assert context.counters.unexpected == {
        "no answer within 0.01 s to a timeout of 1u": 1,
        "no answer within 0.01 s": 1,
    }
    assert context.counters.received(True) == CounterRange(0, 2)


async def test_a_server_that_hangs_up_is_called_anew() -> None:
    async with served(hang_up) as port:
        context = context_at(port, seconds=0.1)

        async def action(random: object) -> None:
            async with context.connect() as peer:
                peer.greet()
                if not await peer.receive():
                    raise EOFError

        await context.repeat(action, workers=1)
    assert context.counters.actions == 0
    assert context.counters.disconnects > 1


async def test_who_waits_for_a_server_that_takes_nothing_gives_up_in_time() -> None:
    async with served(say_nothing) as port:
        context = context_at(port, timeout=0.05, seconds=0.01)

        async def action(random: object) -> None:
            async with context.connect() as peer:
                await peer.receive()

        async with asyncio.timeout(20):
            await context.repeat(action, workers=2)
    assert context.counters.actions == 0

import asyncio

import pytest
from chaos_network import served
from chaos_runs import request, running

from yais.clients.siege.chaos.ledger import OK, Bounds
from yais.clients.siege.chaos.scene import Scene


def scene_at(port: int, seconds: float = 0.0, patience: float = 10.0) -> Scene:
    end = asyncio.get_running_loop().time() + seconds
    return Scene("127.0.0.1", port, "grpcio", request(), "0", end, patience=patience)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_of_a_request_that_is_answered_it_is_known_what_the_server_counts() -> None:
    with running() as fake:
        scene = scene_at(fake.port)
        async with scene.peer() as peer:
            peer.greet()
            peer.read()
            assert await scene.ask(peer, scene.right, "8760H") == OK
    assert scene.ledger.successes == Bounds(1, 1)


async def test_of_a_request_whose_connection_is_lost_nobody_knows_whether_it_arrived() -> None:
    async with served(hang_up) as port:
        scene = scene_at(port)
        async with scene.peer() as peer:
            peer.read()
            assert await scene.ask(peer, scene.right) is None
            # From here on it cannot even be sent.
            with pytest.raises(ConnectionError):
                await scene.ask(peer, scene.right)
    assert scene.ledger.received(True) == Bounds(0, 2)


async def test_a_request_that_is_left_without_any_answer_is_a_surprise() -> None:
    async with served(say_nothing) as port:
        scene = scene_at(port, patience=0.01)
        async with scene.peer() as peer:
            assert await scene.ask(peer, scene.right, "1u") is None
            assert await scene.ask(peer, scene.right) is None
    assert scene.ledger.surprises == {
        "no answer within 0.01 s to a timeout of 1u": 1,
        "no answer within 0.01 s": 1,
    }
    assert scene.ledger.received(True) == Bounds(0, 2)


async def test_a_server_that_hangs_up_is_called_anew() -> None:
    async with served(hang_up) as port:
        scene = scene_at(port, seconds=0.1)

        async def act(random: object) -> None:
            async with scene.peer() as peer:
                peer.greet()
                if not await peer.heard():
                    raise EOFError

        await scene.repeat(act, workers=1)
    assert scene.ledger.acts == 0
    assert scene.ledger.hangups > 1


async def test_who_waits_for_a_server_that_takes_nothing_gives_up_in_time() -> None:
    async with served(say_nothing) as port:
        scene = scene_at(port, patience=0.05, seconds=0.01)

        async def act(random: object) -> None:
            async with scene.peer() as peer:
                await peer.heard()

        async with asyncio.timeout(20):
            await scene.repeat(act, workers=2)
    assert scene.ledger.acts == 0

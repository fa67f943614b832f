import asyncio

from conformance.protocol.hostile import Hostile, answer
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served
from yais.clients.siege.chaos.h2 import message


async def test_a_call_may_be_cut_at_every_byte(peer: Peer, server: Served) -> None:
    """The answer to another client tells that the server has read what was sent before."""
    await peer.expect_service(1)
    async with connected(server.port) as other:
        for position in range(1, len(peer.call(1))):
            stream = 2 * position + 1
            data = peer.call(stream)
            await peer.send(data[:position])
            await other.expect_service(stream)
            await peer.send(data[position:])
            result = await peer.answer(stream)
            assert (result.data, result.status) == (message(b"hello"), 0)


async def test_an_answer_may_be_cut_at_every_byte(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    for byte in answer(peer):
        await peer.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert await call == b"hello"

import asyncio
import socket
from collections.abc import AsyncIterator

import numpy as np
import pytest

from yais.server.ipc import Command, MessagePipe, StartFailure

Ends = tuple[MessagePipe, MessagePipe]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    one, other = [await MessagePipe.open(sock) for sock in socket.socketpair()]
    yield one, other
    await one.close()
    await other.close()


async def test_objects_come_as_they_were_sent_and_in_their_order(ends: Ends) -> None:
    one, other = ends
    sent = [Command.READ, StartFailure("no memory"), None, {"m": "a summary"}]
    for message in sent:
        one.send(message)
    assert [await other.receive() for _ in sent] == sent
    other.send(Command.DRAIN)
    assert await one.receive() is Command.DRAIN


async def test_an_object_may_be_larger_than_what_a_socket_holds(ends: Ends) -> None:
    one, other = ends
    array = np.arange(3_000_000)
    one.send(array)
    one.send("after it")
    assert np.array_equal(await other.receive(), array)
    assert await other.receive() == "after it"


async def test_all_that_was_sent_arrives_before_the_end(ends: Ends) -> None:
    one, other = ends
    one.send(np.zeros(1_000_000))
    closing = asyncio.create_task(one.close())
    assert len(await other.receive()) == 1_000_000
    await closing
    with pytest.raises(EOFError):
        await other.receive()


async def test_a_message_that_is_cut_off_is_an_end() -> None:
    ours, its = socket.socketpair()
    pipe = await MessagePipe.open(ours)
    its.sendall(b"\0\0\0\x10short")
    its.close()
    with pytest.raises(EOFError):
        await pipe.receive()
    await pipe.close()


async def test_an_end_with_something_unread_is_one_too() -> None:
    """The system reports it as a connection that was reset."""
    ours, its = socket.socketpair()
    pipe = await MessagePipe.open(ours)
    pipe.send(Command.READ)
    await asyncio.sleep(0)
    its.close()
    with pytest.raises(EOFError):
        await pipe.receive()
    pipe.send(Command.READ)
    await pipe.close()

import asyncio
import math
from collections.abc import Callable

import grpc
import pytest

from yais.server.grpc.server import AwaitedCall

LOST = (grpc.StatusCode.INTERNAL, "lost")


class Listening:
    def __init__(self) -> None:
        self.heard = 0

    def changed(self) -> None:
        pytest.fail("nothing changes")

    def closed(self) -> None:
        self.heard += 1


async def one_turn() -> None:
    await asyncio.sleep(0)


async def waiting(call: AwaitedCall) -> "asyncio.Task[object]":
    task: asyncio.Task[object] = asyncio.create_task(call.wait())
    await one_turn()
    return task


async def test_a_response_is_its_pieces_together() -> None:
    call = AwaitedCall(math.inf)
    assert not call.is_over
    call.respond(b"ab", b"", b"c")
    assert call.is_over
    assert await call.wait() == b"abc"


async def test_a_failure_is_status_and_text() -> None:
    call = AwaitedCall(7.5)
    task = await waiting(call)
    call.fail(grpc.StatusCode.NOT_FOUND, "the text")
    assert await task == (grpc.StatusCode.NOT_FOUND, "the text")
    assert call.deadline == 7.5


@pytest.mark.parametrize(
    "end", [lambda call: call.respond(b"first"), lambda call: call.fail(grpc.StatusCode.ABORTED)], ids=["ok", "failed"]
)
async def test_only_the_first_outcome_counts(end: Callable[[AwaitedCall], None]) -> None:
    call = AwaitedCall(math.inf)
    end(call)
    call.respond(b"lost")
    call.fail(*LOST)
    assert await call.wait() in (b"first", (grpc.StatusCode.ABORTED, ""))


async def test_a_cancelled_call_is_over_at_once_and_its_listener_hears_of_it_once() -> None:
    call = AwaitedCall(math.inf)
    call.listener = listening = Listening()
    task = await waiting(call)
    task.cancel()
    assert call.is_over
    assert listening.heard == 0
    call.respond(b"lost")
    call.fail(*LOST)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert listening.heard == 1


async def test_a_call_that_is_answered_and_then_cancelled_tells_a_listener_that_still_listens() -> None:
    call = AwaitedCall(math.inf)
    task = await waiting(call)
    call.respond(b"lost")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    call.listener = listening = Listening()
    assert await call.wait() == b"lost"
    assert listening.heard == 1


async def test_nobody_hears_of_the_end_of_an_answered_call_who_has_stopped_listening() -> None:
    call = AwaitedCall(math.inf)
    call.listener = listening = Listening()
    task = await waiting(call)
    call.listener = None
    call.respond(b"")
    await task
    assert listening.heard == 0

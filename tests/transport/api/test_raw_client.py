import asyncio

import grpc
import numpy as np
import pytest

from transport.api.raw import PATH, ask_raw, serve_raw
from transport.api.serving import Bench
from transport.api.test_raw import echo
from transport.api.transports import ONLY_NATIVE
from yais.transport import ServerCall

pytestmark = pytest.mark.parametrize("ends", ONLY_NATIVE, ids=str)


async def test_it_gets_an_answer(bench: Bench) -> None:
    channel = await serve_raw(bench, echo)
    for request in (b"", b"a", bytearray(b"abc"), memoryview(bytes(2_000_000)), np.arange(5)):
        call = await ask_raw(channel, request)
        assert (call.status, call.details) == (0, "")
        assert bytes(call.message) == bytes(request)


async def test_it_gets_a_failure(bench: Bench) -> None:
    channel = await serve_raw(bench, lambda call, message: call.fail(grpc.StatusCode.NOT_FOUND, "absent"))
    call = await ask_raw(channel)
    assert (call.status, call.details, call.message) == (grpc.StatusCode.NOT_FOUND.value[0], "absent", None)


async def test_it_keeps_its_time(bench: Bench) -> None:
    channel = await serve_raw(bench, lambda call, message: None)
    call = await ask_raw(channel, limit=0.05)
    assert (call.status, call.details) == (grpc.StatusCode.DEADLINE_EXCEEDED.value[0], "Deadline Exceeded")


async def test_it_never_calls_back_before_it_returns(bench: Bench) -> None:
    channel = await serve_raw(bench, echo)
    late, served = (asyncio.get_running_loop().create_future() for _ in range(2))
    channel.raw_unary(PATH)(b"", late.set_result, -1)
    channel.raw_unary(PATH)(b"", served.set_result)
    assert not late.done()
    assert not served.done()
    assert (await late).status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert (await served).status == 0


async def test_it_does_not_wait_for_a_connection(bench: Bench) -> None:
    channel = bench.connect("127.0.0.1:1")
    with pytest.raises(ConnectionError):
        channel.raw_unary(PATH)(b"", lambda call: None)


async def test_it_refuses_what_is_too_large(bench: Bench) -> None:
    channel = await serve_raw(bench, echo, channel_options=[("grpc.max_send_message_length", 10)])
    with pytest.raises(OverflowError, match=r"larger than max \(11 vs. 10\)"):
        channel.raw_unary(PATH)(bytes(11), lambda call: None)


async def test_a_lost_connection_ends_raw_calls(bench: Bench) -> None:
    channel = await serve_raw(bench, lambda call, message: None)
    done = asyncio.get_running_loop().create_future()
    channel.raw_unary(PATH)(b"", done.set_result)
    await bench.stack.aclose()
    assert (await done).status in (grpc.StatusCode.UNAVAILABLE.value[0], grpc.StatusCode.CANCELLED.value[0])


async def test_a_call_may_begin_while_another_connection_writes(bench: Bench) -> None:
    """A server's call is over once its last frame is on its way: in the middle of a flush."""
    channel = await serve_raw(bench, echo)
    answered = asyncio.get_running_loop().create_future()

    class Relay:
        def changed(self) -> None: ...

        def closed(self) -> None:
            channel.raw_unary(PATH)(b"second", answered.set_result)

    def relay(call: ServerCall, message: memoryview) -> None:
        call.listener = Relay()
        call.respond(message)

    first = await ask_raw(await serve_raw(bench, relay), b"first")
    second = await answered
    assert (first.status, bytes(first.message)) == (0, b"first")
    assert (second.status, bytes(second.message)) == (0, b"second")


async def test_calls_with_one_timeout_expire_each_at_its_own_time(bench: Bench) -> None:
    channel = await serve_raw(bench, lambda call, message: None)
    loop, raw, timeout = asyncio.get_running_loop(), channel.raw_unary(PATH), 0.2
    lasted: list[asyncio.Future[float]] = []

    def begin() -> None:
        began, ended = loop.time(), loop.create_future()
        raw(b"", lambda call: ended.set_result((call.status, loop.time() - began)), timeout)
        lasted.append(ended)

    begin()
    assert (await ask_raw(channel, b"", timeout / 2)).status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    begin()
    for status, seconds in await asyncio.gather(*lasted):
        assert status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        # uvloop's clock counts milliseconds.
        assert seconds >= timeout - 0.002


async def test_a_call_with_another_timeout_keeps_its_own(bench: Bench) -> None:
    channel = await serve_raw(
        bench, lambda call, message: None if bytes(message) == b"never" else call.respond(message)
    )
    raw, statuses = channel.raw_unary(PATH), []
    expired = asyncio.get_running_loop().create_future()
    raw(b"never", lambda call: statuses.append(call.status), 60)
    raw(b"never", expired.set_result, 0.05)
    assert (await expired).status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert (await ask_raw(channel, b"now", 60)).status == 0
    assert statuses == []

import asyncio
from itertools import pairwise
from statistics import median
from time import monotonic
from typing import Any

import grpc
import numpy as np
import pytest

from transport.api.raw import PATH, serve_raw
from transport.api.reading import status
from transport.api.serving import Bench
from transport.api.transports import NATIVE_SERVERS

pytestmark = pytest.mark.parametrize("ends", NATIVE_SERVERS, ids=str)


def echo(call: Any, message: memoryview) -> None:
    call.respond(message)


async def test_a_callback_answers_with_its_request(bench: Bench) -> None:
    channel = await serve_raw(bench, echo)
    for request in (b"", b"a", bytes(100_000), bytes(3_000_000)):
        assert await channel.unary_unary(PATH)(request) == request


async def test_a_callback_gets_a_memoryview_of_bytes(bench: Bench) -> None:
    seen: list[memoryview] = []

    def look(call: Any, message: memoryview) -> None:
        seen.append(message)
        call.respond()

    channel = await serve_raw(bench, look)
    assert await channel.unary_unary(PATH)(b"abc") == b""
    await channel.unary_unary(PATH)(b"another")
    # It stays what it was for as long as it is kept.
    assert (seen[0].format, seen[0].ndim, bytes(seen[0])) == ("B", 1, b"abc")


@pytest.mark.parametrize("size", [1, 5_000, 200_000])
async def test_an_answer_of_several_buffers(bench: Bench, size: int) -> None:
    array = np.arange(size, dtype=np.float32)

    def respond(call: Any, message: memoryview) -> None:
        call.respond(b"head", array, memoryview(array)[::1], bytearray(b"tail"), b"")

    channel = await serve_raw(bench, respond)
    assert await channel.unary_unary(PATH)(b"") == b"head" + array.tobytes() * 2 + b"tail"


async def test_an_array_of_several_dimensions(bench: Bench) -> None:
    array = np.arange(60_000, dtype=np.int32).reshape(3, 100, 200)
    channel = await serve_raw(bench, lambda call, message: call.respond(array))
    assert await channel.unary_unary(PATH)(b"") == array.tobytes()


async def test_a_buffer_that_is_not_contiguous_is_refused(bench: Bench) -> None:
    errors = []

    def respond(call: Any, message: memoryview) -> None:
        try:
            call.respond(np.arange(100)[::2])
        except (BufferError, TypeError, ValueError) as error:
            errors.append(error)
        call.fail(grpc.StatusCode.INTERNAL, "refused")

    channel = await serve_raw(bench, respond)
    assert await status(channel.unary_unary(PATH)(b"")) == (grpc.StatusCode.INTERNAL, "refused")
    assert len(errors) == 1


async def test_a_callback_may_fail_its_call(bench: Bench) -> None:
    text = "100 % \u263a\n"
    channel = await serve_raw(bench, lambda call, message: call.fail(grpc.StatusCode.NOT_FOUND, text))
    assert await status(channel.unary_unary(PATH)(b"")) == (grpc.StatusCode.NOT_FOUND, text)


async def test_an_answer_may_come_later(bench: Bench) -> None:
    tasks: list[asyncio.Task[None]] = []
    all_asked = asyncio.Event()

    async def respond_later(call: Any, message: memoryview) -> None:
        if len(tasks) == 20:
            all_asked.set()
        await all_asked.wait()
        call.respond(message)

    channel = await serve_raw(bench, lambda *given: tasks.append(asyncio.create_task(respond_later(*given))))
    answers = await asyncio.gather(*(channel.unary_unary(PATH)(b"%d" % number) for number in range(20)))
    assert answers == [b"%d" % number for number in range(20)]
    await asyncio.gather(*tasks)


async def test_only_the_first_answer_counts(bench: Bench) -> None:
    def respond(call: Any, message: memoryview) -> None:
        call.respond(b"first")
        call.respond(b"second")
        call.fail(grpc.StatusCode.ABORTED, "third")

    channel = await serve_raw(bench, respond)
    call = channel.unary_unary(PATH)(b"")
    assert await call == b"first"
    assert await status(call) == (grpc.StatusCode.OK, "")


async def test_an_answer_to_a_caller_that_has_gone_is_not_sent(bench: Bench) -> None:
    calls: list[Any] = []
    begun, gone = asyncio.Event(), asyncio.Event()

    class Listener:
        def changed(self) -> None:
            pass

        def closed(self) -> None:
            gone.set()

    def keep(call: Any, message: memoryview) -> None:
        call.listener = Listener()
        calls.append(call)
        begun.set()

    channel = await serve_raw(bench, keep)
    request = channel.unary_unary(PATH)(b"")
    await begun.wait()
    assert not calls[0].is_over
    request.cancel()
    await gone.wait()
    assert calls[0].is_over
    calls[0].respond(b"too late")
    calls[0].fail(grpc.StatusCode.ABORTED, "too late")


async def test_a_call_is_over_when_its_time_is(bench: Bench) -> None:
    calls: list[Any] = []
    channel = await serve_raw(bench, lambda call, message: calls.append(call))
    code = await channel.unary_unary(PATH)(b"", timeout=0.05).code()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    # The server learns of it with the next that it hears.
    await channel.unary_unary(f"{PATH}/none")(b"").code()
    assert calls[0].is_over


async def test_an_exception_in_a_callback_fails_the_call(bench: Bench) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def fail(call: Any, message: memoryview) -> None:
        raise ZeroDivisionError("by nought")

    channel = await serve_raw(bench, fail)
    code, details = await status(channel.unary_unary(PATH)(b""))
    assert (code, details) == (grpc.StatusCode.UNKNOWN, "Unexpected <class 'ZeroDivisionError'>: by nought")
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


async def test_an_answer_above_the_limit_overflows(bench: Bench) -> None:
    errors = []

    def respond(call: Any, message: memoryview) -> None:
        try:
            call.respond(bytes(600), bytes(401))
        except OverflowError as error:
            errors.append(str(error))
            call.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    channel = await serve_raw(bench, respond, options=[("grpc.max_send_message_length", 1000)])
    assert await channel.unary_unary(PATH)(b"").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert errors == ["Sent message larger than max (1001 vs. 1000)"]


async def test_a_raw_method_sees_metadata_deadline_and_peer(bench: Bench) -> None:
    seen = []

    def look(call: Any, message: memoryview) -> None:
        seen.append((dict(call.metadata)[b"key"], call.deadline < float("inf"), call.connection.peer))
        call.respond()

    channel = await serve_raw(bench, look)
    await channel.unary_unary(PATH)(b"", metadata=[("key", "a")], timeout=10)
    assert seen[0][:2] == (b"a", True)
    assert seen[0][2].startswith("ipv4:127.0.0.1:")


async def test_a_client_that_is_held_back_is_served_again_after_a_moment(bench: Bench) -> None:
    came = []

    def refuse(call: Any, message: memoryview) -> None:
        came.append(monotonic())
        call.fail(grpc.StatusCode.UNAVAILABLE, "full")
        call.hold_back()

    channel = await serve_raw(bench, refuse)
    for _ in range(22):
        assert await status(channel.unary_unary(PATH)(b"")) == (grpc.StatusCode.UNAVAILABLE, "full")
    # The loop counts milliseconds, so that a rest of two may be one; a pause of the process may swallow it.
    assert median(later - sooner for sooner, later in pairwise(came)) >= 0.001


async def test_refusals_with_many_texts_keep_their_own(bench: Bench) -> None:
    def refuse(call: Any, message: memoryview) -> None:
        call.fail(grpc.StatusCode.UNAVAILABLE, bytes(message).decode())

    channel = await serve_raw(bench, refuse)
    for text in [f"no. {number}, 100 %" for number in range(150)] * 2:
        assert await status(channel.unary_unary(PATH)(text.encode())) == (grpc.StatusCode.UNAVAILABLE, text)

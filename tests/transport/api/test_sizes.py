from typing import Any

import grpc.aio
import pytest

from transport.api.differences import TOO_LARGE_TO_WRITE
from transport.api.messages import note
from transport.api.reading import failure, read_all, status
from transport.api.serving import Bench

RECEIVE, SEND = "grpc.max_receive_message_length", "grpc.max_send_message_length"
LIMIT = 1000
# A note's body has a tag and a length of two bytes before it.
LARGEST = note(size=LIMIT - 3)
TOO_LARGE = note(size=LIMIT - 2)
DEFAULT = 4 * 2**20

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


async def begin(stub: Any, method: str, message: Any) -> Any:
    """A call that has sent `message`."""
    if method.startswith("Unary"):
        return getattr(stub, method)(message)
    call = getattr(stub, method)()
    await call.write(message)
    return call


async def give(request: Any, context: Any) -> Any:
    return note(size=int(request.text))


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_a_server_refuses_larger_requests_than_its_limit(bench: Bench, method: str) -> None:
    served = await bench.serve(options=[(RECEIVE, LIMIT)])
    code, details = await status(await begin(served.stub, method, TOO_LARGE))
    assert code is EXHAUSTED
    assert f"eceived message larger than max ({LIMIT + 1} vs. {LIMIT})" in details


async def test_a_server_takes_requests_up_to_its_limit(bench: Bench) -> None:
    served = await bench.serve(options=[(RECEIVE, LIMIT)])
    assert await served.stub.UnaryUnary(LARGEST) == LARGEST
    assert await read_all(served.stub.StreamStream([LARGEST] * 3)) == [LARGEST] * 3


@pytest.mark.parametrize("method", ["UnaryUnary", "StreamUnary"])
async def test_a_channel_refuses_larger_answers_than_its_limit(bench: Bench, method: str) -> None:
    async def answer(request: Any, context: Any) -> Any:
        if method == "StreamUnary":
            await context.read()
        return TOO_LARGE

    served = await bench.serve(methods={method: answer}, channel_options=[(RECEIVE, LIMIT)])
    error = await failure(await begin(served.stub, method, note("a")))
    assert error.code() is EXHAUSTED
    assert f"eceived message larger than max ({LIMIT + 1} vs. {LIMIT})" in error.details()


async def test_a_channel_ends_a_stream_at_an_answer_above_its_limit(bench: Bench) -> None:
    served = await bench.serve(channel_options=[(RECEIVE, LIMIT)])
    call = served.stub.StreamStream()
    await call.write(LARGEST)
    assert await call.read() == LARGEST
    await call.write(TOO_LARGE)
    error = await failure(call.read())
    assert error.code() is EXHAUSTED
    assert f"eceived message larger than max ({LIMIT + 1} vs. {LIMIT})" in error.details()


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream"])
async def test_a_channel_does_not_send_more_than_its_limit(bench: Bench, method: str) -> None:
    served = await bench.serve(channel_options=[(SEND, LIMIT)])
    code, details = await status(getattr(served.stub, method)(TOO_LARGE))
    assert code is EXHAUSTED
    assert f"ent message larger than max ({LIMIT + 1} vs. {LIMIT})" in details


async def test_writing_more_than_the_limit_fails(bench: Bench) -> None:
    served = await bench.serve(channel_options=[(SEND, LIMIT)])
    call = served.stub.StreamStream()
    await call.write(LARGEST)
    assert await call.read() == LARGEST
    error = await failure(call.write(TOO_LARGE))
    assert error.code() is await call.code() is TOO_LARGE_TO_WRITE.at(bench.ends.channel)


async def test_an_iterator_with_more_than_the_limit_fails_its_call(bench: Bench) -> None:
    served = await bench.serve(channel_options=[(SEND, LIMIT)])
    code = await served.stub.StreamUnary([LARGEST, TOO_LARGE]).code()
    assert code is TOO_LARGE_TO_WRITE.at(bench.ends.channel)


@pytest.mark.parametrize("method", ["UnaryUnary", "StreamUnary"])
async def test_a_server_does_not_send_more_than_its_limit(bench: Bench, method: str) -> None:
    async def answer(request: Any, context: Any) -> Any:
        if method == "StreamUnary":
            await context.read()
        return TOO_LARGE

    served = await bench.serve(methods={method: answer}, options=[(SEND, LIMIT)])
    code, details = await status(await begin(served.stub, method, note("a")))
    assert code is EXHAUSTED
    assert f"ent message larger than max ({LIMIT + 1} vs. {LIMIT})" in details


async def test_by_default_up_to_4_mib_are_received(bench: Bench) -> None:
    # The tag and the length of four bytes.
    served = await bench.serve(methods={"UnaryUnary": give})
    assert len((await served.stub.UnaryUnary(note(f"{DEFAULT - 5}"))).body) == DEFAULT - 5
    error = await failure(served.stub.UnaryUnary(note(f"{DEFAULT - 4}")))
    assert f"larger than max ({DEFAULT + 1} vs. {DEFAULT})" in error.details()


async def test_limits_may_be_lifted(bench: Bench) -> None:
    served = await bench.serve(options=[(RECEIVE, -1), (SEND, -1)], channel_options=[(RECEIVE, -1), (SEND, -1)])
    request = note(size=2 * DEFAULT)
    assert await served.stub.UnaryUnary(request) == request


async def test_a_compressed_request_counts_at_its_full_size(bench: Bench) -> None:
    served = await bench.serve(options=[(RECEIVE, LIMIT)], channel_compression=grpc.Compression.Gzip)
    assert await served.stub.UnaryUnary(LARGEST) == LARGEST
    assert (await failure(served.stub.UnaryUnary(TOO_LARGE))).code() is EXHAUSTED


async def test_after_a_refusal_the_connection_goes_on(bench: Bench) -> None:
    served = await bench.serve(options=[(RECEIVE, LIMIT)])
    open_call = served.stub.StreamStream()
    await open_call.write(note("a"))
    assert await open_call.read() == note("a")
    await failure(served.stub.UnaryUnary(note(size=1_000_000)))
    await open_call.write(note("b"))
    assert await open_call.read() == note("b")
    open_call.cancel()

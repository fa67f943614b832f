from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import SERVICE, note, notes
from transport.api.reading import read_all
from transport.api.serving import Bench, Method, echo_as_stream, echo_each

pytestmark = pytest.mark.both_loops


async def write_as_stream(request: Any, context: Any) -> None:
    for character in request.text:
        await context.write(note(character))


async def read_together(_: Any, context: Any) -> Any:
    return note("".join([request.text for request in await read_all(context)]))


async def write_each(_: Any, context: Any) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(request)


async def read_iterated(requests: AsyncIterator[Any], context: Any) -> Any:
    return note("".join([request.text async for request in requests]))


streaming_answers = pytest.mark.parametrize("method", [echo_as_stream, write_as_stream], ids=["yields", "writes"])
streaming_requests = pytest.mark.parametrize("method", [read_iterated, read_together], ids=["iterates", "reads"])
streaming_both = pytest.mark.parametrize("method", [echo_each, write_each], ids=["generator", "reads and writes"])


async def test_one_request_gets_one_answer(bench: Bench) -> None:
    served = await bench.serve()
    assert await served.stub.UnaryUnary(note("a", size=100_000)) == note("a", size=100_000)


@streaming_answers
async def test_answers_are_iterated_over(bench: Bench, method: Method) -> None:
    served = await bench.serve(methods={"UnaryStream": method})
    assert [each async for each in served.stub.UnaryStream(note("abc"))] == notes(*"abc")


@streaming_answers
async def test_answers_are_read(bench: Bench, method: Method) -> None:
    served = await bench.serve(methods={"UnaryStream": method})
    assert await read_all(served.stub.UnaryStream(note("abc"))) == notes(*"abc")


@streaming_answers
async def test_a_stream_of_answers_may_be_empty(bench: Bench, method: Method) -> None:
    served = await bench.serve(methods={"UnaryStream": method})
    assert await read_all(served.stub.UnaryStream(note())) == []


@streaming_requests
async def test_requests_come_from_an_asynchronous_generator(bench: Bench, method: Method) -> None:
    async def requests() -> AsyncIterator[Any]:
        for character in "abc":
            yield note(character)

    served = await bench.serve(methods={"StreamUnary": method})
    assert await served.stub.StreamUnary(requests()) == note("abc")


@streaming_requests
async def test_requests_come_from_an_iterable(bench: Bench, method: Method) -> None:
    def requests() -> Iterator[Any]:
        yield from notes(*"abc")

    served = await bench.serve(methods={"StreamUnary": method})
    assert await served.stub.StreamUnary(requests()) == note("abc")
    assert await served.stub.StreamUnary(notes(*"def")) == note("def")


@streaming_requests
async def test_requests_are_written(bench: Bench, method: Method) -> None:
    served = await bench.serve(methods={"StreamUnary": method})
    call = served.stub.StreamUnary()
    for request in notes(*"abc"):
        await call.write(request)
    await call.done_writing()
    assert await call == note("abc")


@streaming_requests
async def test_a_stream_of_requests_may_be_empty(bench: Bench, method: Method) -> None:
    served = await bench.serve(methods={"StreamUnary": method})
    assert await served.stub.StreamUnary([]) == note()


@streaming_both
async def test_requests_and_answers_take_turns(bench: Bench, method: Method) -> None:
    served = await bench.serve(methods={"StreamStream": method})
    call = served.stub.StreamStream()
    for request in notes(*"abc"):
        await call.write(request)
        assert await call.read() == request
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


@streaming_both
async def test_both_sides_are_iterated_over(bench: Bench, method: Method) -> None:
    served = await bench.serve(methods={"StreamStream": method})
    assert [each async for each in served.stub.StreamStream(notes(*"abc"))] == notes(*"abc")


async def test_answers_may_come_before_any_request(bench: Bench) -> None:
    async def greet(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        yield note("hello")
        async for request in requests:
            yield request

    served = await bench.serve(methods={"StreamStream": greet})
    call = served.stub.StreamStream()
    assert await call.read() == note("hello")
    await call.write(note("a"))
    assert await call.read() == note("a")
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_an_answer_need_not_wait_for_the_requests(bench: Bench) -> None:
    async def interrupt(requests: AsyncIterator[Any], context: Any) -> Any:
        return note("enough")

    served = await bench.serve(methods={"StreamUnary": interrupt})
    assert await served.stub.StreamUnary() == note("enough")


async def test_without_serializers_messages_are_bytes(bench: Bench) -> None:
    served = await bench.serve()
    request = note("a").SerializeToString()
    assert await served.channel.unary_unary(f"{SERVICE}/UnaryUnary")(request) == request


async def test_messages_come_in_order_whatever_their_size(bench: Bench) -> None:
    served = await bench.serve()
    requests = [note(str(size), size) for size in (0, 1, 16_379, 16_384, 70_000, 1, 1_000_000, 0, 5)]
    assert [each async for each in served.stub.StreamStream(requests)] == requests

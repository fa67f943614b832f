import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note
from transport.api.reading import failure, read_all
from transport.api.serving import Bench

METADATA = (("text", "1, 2"), ("twice", "a"), ("twice", "b"), ("some-bin", b"\x00\xff,\x01"), ("empty-bin", b""))
MANY = tuple((f"many-{number}", "x" * 20_000) for number in range(5))


def kept(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """`metadata` without what transports say of themselves."""
    return tuple((key, value) for key, value in metadata if key != "user-agent")


@pytest.mark.parametrize("form", [tuple, list, lambda pairs: grpc.aio.Metadata(*pairs)], ids=["tuple", "list", "class"])
async def test_a_servicer_sees_the_metadata_of_its_call(bench: Bench, form: Any) -> None:
    seen = []

    async def look(request: Any, context: Any) -> Any:
        seen.extend(kept(context.invocation_metadata()))
        return request

    served = await bench.serve(methods={"UnaryUnary": look})
    await served.stub.UnaryUnary(note(), metadata=form(METADATA))
    assert sorted(seen) == sorted(METADATA)
    assert [value for key, value in seen if key == "twice"] == ["a", "b"]


async def test_a_servicer_sees_who_calls(bench: Bench) -> None:
    agents = []

    async def look(request: Any, context: Any) -> Any:
        agents.extend(value for key, value in context.invocation_metadata() if key == "user-agent")
        return request

    served = await bench.serve(
        methods={"UnaryUnary": look}, channel_options=[("grpc.primary_user_agent", "tester/1.0")]
    )
    await served.stub.UnaryUnary(note())
    assert len(agents) == 1
    assert agents[0].startswith("tester/1.0 grpc-python")


async def test_initial_metadata_come_before_the_answer(bench: Bench) -> None:
    async def send(requests: Any, context: Any) -> AsyncIterator[Any]:
        await context.send_initial_metadata(METADATA)
        async for request in requests:
            yield request

    served = await bench.serve(methods={"StreamStream": send})
    call = served.stub.StreamStream()
    assert kept(await call.initial_metadata()) == METADATA
    await call.write(note("a"))
    await call.done_writing()
    assert await read_all(call) == [note("a")]


async def test_a_unary_call_has_initial_and_trailing_metadata(bench: Bench) -> None:
    async def send(request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("initial", "a"),))
        context.set_trailing_metadata(METADATA)
        return request

    served = await bench.serve(methods={"UnaryUnary": send})
    call = served.stub.UnaryUnary(note())
    assert kept(await call.initial_metadata()) == (("initial", "a"),)
    assert kept(await call.trailing_metadata()) == METADATA
    assert await call == note()


async def test_metadata_are_there_as_lists_by_key(bench: Bench) -> None:
    async def send(request: Any, context: Any) -> Any:
        await context.send_initial_metadata(METADATA)
        context.set_trailing_metadata(METADATA)
        return request

    served = await bench.serve(methods={"UnaryUnary": send})
    call = served.stub.UnaryUnary(note())
    for metadata in (await call.initial_metadata(), await call.trailing_metadata()):
        assert isinstance(metadata, grpc.aio.Metadata)
        assert metadata.get_all("twice") == ["a", "b"]
        assert metadata["some-bin"] == b"\x00\xff,\x01"


async def test_without_metadata_there_are_none(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryUnary(note())
    await call
    assert kept(await call.initial_metadata()) == ()
    assert kept(await call.trailing_metadata()) == ()


async def test_initial_metadata_are_sent_once(bench: Bench) -> None:
    errors = []

    async def send_twice(request: Any, context: Any) -> AsyncIterator[Any]:
        await context.send_initial_metadata((("a", "1"),))
        try:
            await context.send_initial_metadata((("b", "2"),))
        except Exception as error:
            errors.append(error)
        yield request

    served = await bench.serve(methods={"UnaryStream": send_twice})
    call = served.stub.UnaryStream(note())
    await read_all(call)
    assert len(errors) == 1
    assert isinstance(errors[0], grpc.aio.UsageError)
    assert kept(await call.initial_metadata()) == (("a", "1"),)


async def test_initial_metadata_cannot_follow_a_message(bench: Bench) -> None:
    async def send_late(request: Any, context: Any) -> AsyncIterator[Any]:
        yield request
        with pytest.raises(grpc.aio.UsageError):
            await context.send_initial_metadata((("a", "1"),))

    served = await bench.serve(methods={"UnaryStream": send_late})
    call = served.stub.UnaryStream(note())
    assert await read_all(call) == [note()]
    assert kept(await call.initial_metadata()) == ()


async def test_trailing_metadata_are_those_set_last(bench: Bench) -> None:
    async def set_twice(request: Any, context: Any) -> AsyncIterator[Any]:
        context.set_trailing_metadata((("a", "1"),))
        yield request
        context.set_trailing_metadata((("b", "2"),))
        assert tuple(context.trailing_metadata()) == (("b", "2"),)

    served = await bench.serve(methods={"UnaryStream": set_twice})
    call = served.stub.UnaryStream(note())
    await read_all(call)
    assert kept(await call.trailing_metadata()) == (("b", "2"),)


async def test_an_error_carries_both_metadata(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        await context.send_initial_metadata((("initial", "a"),))
        await context.abort(grpc.StatusCode.ABORTED, "no", METADATA)

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert kept(error.initial_metadata()) == (("initial", "a"),)
    assert kept(error.trailing_metadata()) == METADATA


@pytest.mark.parametrize("pair", [("Upper", "x"), ("spa ce", "x"), ("text", "é")])
async def test_metadata_that_cannot_be_sent_fail_the_call(bench: Bench, pair: tuple[str, str]) -> None:
    served = await bench.serve()
    with pytest.raises(Exception, match=r"execute_batch|metadata"):
        await served.stub.UnaryUnary(note(), metadata=(pair,))
    assert await served.stub.UnaryUnary(note("next")) == note("next")


@pytest.mark.parametrize("pair", [("Upper", "x"), ("text", "é")])
async def test_trailing_metadata_that_cannot_be_sent_fail_the_call(bench: Bench, pair: tuple[str, str]) -> None:
    async def send(request: Any, context: Any) -> Any:
        context.set_trailing_metadata((pair,))
        return request

    served = await bench.serve(methods={"UnaryUnary": send})
    async with asyncio.timeout(1):
        await failure(served.stub.UnaryUnary(note()))
    assert await served.stub.UnaryStream(note("")).read() is grpc.aio.EOF


async def test_a_server_refuses_too_many_metadata(bench: Bench) -> None:
    served = await bench.serve()
    call = served.stub.UnaryUnary(note(), metadata=MANY)
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await served.stub.UnaryUnary(note("a")) == note("a")


async def test_a_channel_refuses_too_many_metadata(bench: Bench) -> None:
    async def send(request: Any, context: Any) -> Any:
        context.set_trailing_metadata(MANY)
        return request

    served = await bench.serve(methods={"UnaryUnary": send})
    assert await served.stub.UnaryUnary(note()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await served.stub.StreamUnary([note("a")]) == note("a")


async def test_more_metadata_may_be_allowed(bench: Bench) -> None:
    options = [("grpc.max_metadata_size", 500_000), ("grpc.absolute_max_metadata_size", 500_000)]
    sizes = []

    async def look(request: Any, context: Any) -> Any:
        sizes.extend(len(value) for key, value in context.invocation_metadata() if key.startswith("many"))
        return request

    served = await bench.serve(methods={"UnaryUnary": look}, options=options)
    await served.stub.UnaryUnary(note(), metadata=MANY)
    assert sizes == [20_000] * 5

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import note
from transport.api.reading import failure, read_all, status
from transport.api.serving import Bench
from transport.api.transports import NATIVE_SERVERS

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
NOT_FOUND = grpc.StatusCode.NOT_FOUND
TEXT = "not\tfound: 100 % of \u263a\n"


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
async def test_every_code_arrives_as_it_was_set(bench: Bench, code: grpc.StatusCode) -> None:
    async def fail(request: Any, context: Any) -> Any:
        context.set_code(code)
        context.set_details(TEXT)
        return note("ignored")

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert (error.code(), error.details()) == (code, TEXT)


async def test_a_code_may_be_set_without_an_answer(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        context.set_code(NOT_FOUND)

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert (error.code(), error.details()) == (NOT_FOUND, "")


async def test_the_details_of_a_success_are_not_kept(bench: Bench) -> None:
    async def answer(request: Any, context: Any) -> Any:
        context.set_details(TEXT)
        return request

    served = await bench.serve(methods={"UnaryUnary": answer})
    call = served.stub.UnaryUnary(note("a"))
    assert await call == note("a")
    assert await status(call) == (grpc.StatusCode.OK, "")


async def test_a_stream_ends_with_the_code_that_was_set(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> AsyncIterator[Any]:
        yield note("a")
        context.set_code(NOT_FOUND)
        context.set_details(TEXT)
        yield note("b")

    served = await bench.serve(methods={"UnaryStream": fail})
    call = served.stub.UnaryStream(note())
    assert [await call.read(), await call.read()] == [note("a"), note("b")]
    assert (await failure(call.read())).details() == TEXT
    assert await status(call) == (NOT_FOUND, TEXT)


async def test_iterating_raises_what_a_stream_ends_with(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> AsyncIterator[Any]:
        yield note("a")
        await context.abort(NOT_FOUND, TEXT)

    served = await bench.serve(methods={"UnaryStream": fail})
    answers = aiter(served.stub.UnaryStream(note()))
    assert await anext(answers) == note("a")
    assert (await failure(anext(answers))).code() is NOT_FOUND


async def test_a_servicer_reads_back_what_it_set(bench: Bench) -> None:
    seen = []

    async def look(request: Any, context: Any) -> Any:
        context.set_code(NOT_FOUND)
        context.set_details(TEXT)
        seen.append((context.code(), context.details()))
        return request

    served = await bench.serve(methods={"UnaryUnary": look})
    await failure(served.stub.UnaryUnary(note()))
    assert seen == [(NOT_FOUND, TEXT)]


async def test_abort_ends_the_method(bench: Bench) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def fail(request: Any, context: Any) -> None:
        try:
            await context.abort(NOT_FOUND, TEXT)
        except BaseException as error:
            ended.set_result(error)
            raise

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert (error.code(), error.details()) == (NOT_FOUND, TEXT)
    assert isinstance(await ended, grpc.aio.AbortError)


@pytest.mark.parametrize("method", ["StreamUnary", "StreamStream"])
async def test_abort_before_the_requests_were_read(bench: Bench, method: str) -> None:
    async def fail(requests: Any, context: Any) -> Any:
        await context.abort(NOT_FOUND, TEXT)

    served = await bench.serve(methods={method: fail})
    call = getattr(served.stub, method)()
    assert await status(call) == (NOT_FOUND, TEXT)


async def test_abort_has_the_trailing_metadata_that_were_set(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        context.set_trailing_metadata((("a", "1"),))
        await context.abort(NOT_FOUND, TEXT)

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert error.trailing_metadata()["a"] == "1"


async def test_abort_has_the_details_that_were_set(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        context.set_details(TEXT)
        await context.abort(NOT_FOUND)

    served = await bench.serve(methods={"UnaryUnary": fail})
    assert (await failure(served.stub.UnaryUnary(note()))).details() == TEXT


# grpc.aio's server never answers such a call.
@pytest.mark.parametrize("ends", NATIVE_SERVERS, ids=str)
async def test_abort_is_never_a_success(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.OK, "fine")

    served = await bench.serve(methods={"UnaryUnary": fail})
    assert await served.stub.UnaryUnary(note()).code() is grpc.StatusCode.UNKNOWN


async def test_abort_with_a_status(bench: Bench) -> None:
    class Status(grpc.Status):
        code = NOT_FOUND
        details = TEXT
        trailing_metadata = (("a-bin", b"\x00"),)

    async def fail(request: Any, context: Any) -> None:
        await context.abort_with_status(Status())

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert (error.code(), error.details()) == (NOT_FOUND, TEXT)
    assert error.trailing_metadata()["a-bin"] == b"\x00"


async def test_abort_cannot_be_called_twice(bench: Bench) -> None:
    second = asyncio.get_running_loop().create_future()

    async def fail(request: Any, context: Any) -> None:
        try:
            await context.abort(NOT_FOUND, "first")
        except grpc.aio.AbortError:
            try:
                await context.abort(grpc.StatusCode.ABORTED, "second")
            except Exception as error:
                second.set_result(error)
            raise

    served = await bench.serve(methods={"UnaryUnary": fail})
    assert (await failure(served.stub.UnaryUnary(note()))).details() == "first"
    assert isinstance(await second, grpc.aio.UsageError)


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_an_exception_is_an_unknown_error_that_is_logged(
    bench: Bench, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(request: Any, context: Any) -> Any:
        raise ZeroDivisionError("by nought")

    served = await bench.serve(methods={method: fail})
    argument = note() if method.startswith("Unary") else []
    code, details = await status(getattr(served.stub, method)(argument))
    assert code is grpc.StatusCode.UNKNOWN
    assert details == "Unexpected <class 'ZeroDivisionError'>: by nought"
    assert "ZeroDivisionError" in caplog.text


async def test_an_exception_has_the_code_that_was_set(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        context.set_code(NOT_FOUND)
        context.set_trailing_metadata((("a", "1"),))
        raise ValueError("nothing")

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert (error.code(), error.details()) == (NOT_FOUND, "Unexpected <class 'ValueError'>: nothing")
    assert error.trailing_metadata()["a"] == "1"


async def test_an_exception_in_the_middle_of_a_stream(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> AsyncIterator[Any]:
        yield note("a")
        raise ValueError("nothing")

    served = await bench.serve(methods={"UnaryStream": fail})
    call = served.stub.UnaryStream(note())
    assert await call.read() == note("a")
    assert (await failure(call.read())).code() is grpc.StatusCode.UNKNOWN


async def test_an_error_knows_all_about_its_call(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        await context.abort(NOT_FOUND, "absent")

    served = await bench.serve(methods={"UnaryUnary": fail})
    error = await failure(served.stub.UnaryUnary(note()))
    assert isinstance(error, grpc.RpcError)
    assert (error.code(), error.details()) == (NOT_FOUND, "absent")
    assert isinstance(error.initial_metadata(), grpc.aio.Metadata)
    assert isinstance(error.trailing_metadata(), grpc.aio.Metadata)
    assert "absent" in error.debug_error_string()
    assert "NOT_FOUND" in str(error)


async def test_a_server_goes_on_after_errors(bench: Bench) -> None:
    async def fail(request: Any, context: Any) -> None:
        raise ValueError

    served = await bench.serve(methods={"UnaryStream": fail})
    await status(served.stub.UnaryStream(note()))
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    assert await read_all(served.stub.StreamStream([note("b")])) == [note("b")]

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from transport.api.differences import OWN_CALL_DETAILS
from transport.api.messages import SERVICE, messages, note, notes
from transport.api.reading import read_all, status
from transport.api.serving import Bench

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]

DENIED = grpc.StatusCode.PERMISSION_DENIED


class Recording(grpc.aio.ServerInterceptor):
    """Writes into `log` which methods it has seen."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name = name
        self._log = log

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        self._log.append(f"{self._name} {details.method}")
        handler = await continuation(details)
        self._log.append(f"{self._name} {'unknown' if handler is None else 'known'}")
        return handler


class Denying(grpc.aio.ServerInterceptor):
    """Refuses calls without the right token."""

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None or dict(details.invocation_metadata).get("token") == "right":
            return handler
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else UNARY_STREAM
            return make(self._deny_stream)
        make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else UNARY_UNARY
        return make(self._deny)

    async def _deny(self, request: Any, context: Any) -> None:
        await context.abort(DENIED, "no token")

    async def _deny_stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await context.abort(DENIED, "no token")
        yield


UNARY_UNARY, UNARY_STREAM = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler


class Shouting(grpc.aio.ServerInterceptor):
    """Changes what a unary method answers."""

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)

        async def shout(request: Any, context: Any) -> Any:
            answer = await handler.unary_unary(request, context)
            return note(answer.text.upper())

        return UNARY_UNARY(shout, handler.request_deserializer, handler.response_serializer)


class Inventing(grpc.aio.ServerInterceptor):
    """Serves what nobody serves."""

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            return b"invented"

        return await continuation(details) or UNARY_UNARY(answer)


class Failing(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        raise ValueError("an interceptor's own")


async def test_interceptors_run_in_their_order(bench: Bench) -> None:
    log: list[str] = []
    served = await bench.serve(interceptors=[Recording("first", log), Recording("second", log)])
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    path = f"{SERVICE}/UnaryUnary"
    assert log == [f"first {path}", f"second {path}", "second known", "first known"]


async def test_calls_of_all_kinds_are_intercepted(bench: Bench) -> None:
    log: list[str] = []
    served = await bench.serve(interceptors=[Recording("it", log)])
    assert await read_all(served.stub.UnaryStream(note("ab"))) == notes("a", "b")
    assert await served.stub.StreamUnary(notes("a", "b")) == note("ab")
    assert await read_all(served.stub.StreamStream(notes("a", "b"))) == notes("a", "b")
    assert log[::2] == [f"it {SERVICE}/{method}" for method in ("UnaryStream", "StreamUnary", "StreamStream")]


async def test_unknown_methods_are_intercepted(bench: Bench) -> None:
    log: list[str] = []
    served = await bench.serve(interceptors=[Recording("it", log)])
    code, details = await status(served.channel.unary_unary("/a/b")(b""))
    assert (code, details) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    assert log == ["it /a/b", "it unknown"]


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_an_interceptor_may_refuse_a_call(bench: Bench, method: str) -> None:
    served = await bench.serve(interceptors=[Denying()])
    arguments = (note(),) if method.startswith("Unary") else ()
    assert await status(getattr(served.stub, method)(*arguments)) == (DENIED, "no token")


async def test_an_interceptor_may_let_a_call_pass(bench: Bench) -> None:
    served = await bench.serve(interceptors=[Denying()])
    assert await served.stub.UnaryUnary(note("a"), metadata=[("token", "right")]) == note("a")


async def test_an_interceptor_may_change_an_answer(bench: Bench) -> None:
    served = await bench.serve(interceptors=[Shouting()])
    assert await served.stub.UnaryUnary(note("a")) == note("A")


async def test_an_interceptor_may_serve_what_is_unknown(bench: Bench) -> None:
    served = await bench.serve(interceptors=[Inventing()])
    assert await served.channel.unary_unary("/a/b")(b"") == b"invented"


async def test_an_interceptor_that_fails_fails_the_call(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    served = await bench.serve(interceptors=[Failing()])
    code, details = await status(served.stub.UnaryUnary(note()))
    assert (code, details) == (grpc.StatusCode.UNKNOWN, "Unexpected <class 'ValueError'>: an interceptor's own")


async def test_an_interceptor_may_change_the_details_of_a_call(bench: Bench) -> None:
    class Redirecting(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
            class Details(grpc.HandlerCallDetails):
                method = f"{SERVICE}/UnaryUnary"
                invocation_metadata = details.invocation_metadata

            return await continuation(Details())

    served = await bench.serve(interceptors=[Redirecting()])
    call = served.channel.unary_unary("/a/b", messages.Note.SerializeToString, messages.Note.FromString)
    assert await call(note("a")).code() is OWN_CALL_DETAILS.at(bench.ends.server)


async def test_only_interceptors_are_taken(bench: Bench) -> None:
    with pytest.raises(ValueError, match="nterceptor"):
        bench.make_server(interceptors=[object()])

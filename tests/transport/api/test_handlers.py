import asyncio
from typing import Any

import grpc.aio
import pytest

from transport.api.messages import SERVICE, note
from transport.api.reading import read_all, status
from transport.api.serving import Bench, Served
from transport.api.transports import NATIVE_SERVERS

UNIMPLEMENTED = (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")


class Catching(grpc.GenericRpcHandler):
    """Serves every method of a kind, with bytes."""

    def __init__(self, kind: str, behaviour: Any, prefix: str = "/") -> None:
        self._handler = getattr(grpc, f"{kind}_rpc_method_handler")(behaviour)
        self._prefix = prefix

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method.startswith(self._prefix) else None


async def say_a(request: bytes, context: Any) -> bytes:
    return b"a"


async def say_b(request: bytes, context: Any) -> bytes:
    return b"b"


async def repeat(requests: Any, context: Any) -> Any:
    async for request in requests:
        yield request


async def serve_by(bench: Bench, *handlers: grpc.GenericRpcHandler) -> Served:
    return await bench.serve(handlers=handlers)


@pytest.mark.parametrize("path", ["/a/b", "/a/", "/", "/a/b/c", f"{SERVICE}/Nothing", f"{SERVICE}2/UnaryUnary"])
async def test_an_unknown_method_is_unimplemented(bench: Bench, path: str) -> None:
    served = await bench.serve()
    assert await status(served.channel.unary_unary(path)(b"")) == UNIMPLEMENTED


@pytest.mark.parametrize("kind", ["unary_stream", "stream_unary", "stream_stream"])
async def test_an_unknown_method_of_any_kind_is_unimplemented(bench: Bench, kind: str) -> None:
    served = await bench.serve()
    call = getattr(served.channel, kind)("/a/b")
    assert await status(call(b"") if kind.startswith("unary") else call()) == UNIMPLEMENTED


async def test_a_method_that_a_servicer_leaves_out_is_unimplemented(bench: Bench) -> None:
    server = bench.make_server()
    handlers = {"Known": grpc.unary_unary_rpc_method_handler(say_a)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = bench.connect(f"127.0.0.1:{port}")
    assert await channel.unary_unary("/a.B/Known")(b"") == b"a"
    assert await status(channel.unary_unary("/a.B/Unknown")(b"")) == UNIMPLEMENTED


async def test_generic_handlers_are_asked_in_turn(bench: Bench) -> None:
    served = await serve_by(
        bench, Catching("unary_unary", say_a, "/a/"), Catching("unary_unary", say_b), Catching("unary_unary", say_a)
    )
    assert await served.channel.unary_unary("/a/x")(b"") == b"a"
    assert await served.channel.unary_unary("/b/x")(b"") == b"b"


async def test_a_generic_handler_may_serve_streams(bench: Bench) -> None:
    served = await serve_by(bench, Catching("stream_stream", repeat))
    assert await read_all(served.channel.stream_stream("/a/b")([b"a", b"b"])) == [b"a", b"b"]


async def test_a_registered_method_goes_before_a_generic_handler(bench: Bench) -> None:
    served = await serve_by(bench, Catching("unary_unary", say_a))
    assert await served.stub.UnaryUnary(note("own")) == note("own")


async def test_a_generic_handler_knows_the_metadata(bench: Bench) -> None:
    class Looking(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            metadata = dict(handler_call_details.invocation_metadata)
            return grpc.unary_unary_rpc_method_handler(say_a if metadata.get("which") == "a" else say_b)

    served = await serve_by(bench, Looking())
    assert await served.channel.unary_unary("/a/b")(b"", metadata=[("which", "a")]) == b"a"
    assert await served.channel.unary_unary("/a/b")(b"") == b"b"


async def test_a_unary_method_serves_a_client_that_streams_one_message(bench: Bench) -> None:
    served = await bench.serve()
    request = note("a").SerializeToString()
    assert await served.channel.stream_unary(f"{SERVICE}/UnaryUnary")([request]) == request
    assert await read_all(served.channel.stream_stream(f"{SERVICE}/UnaryUnary")([request])) == [request]


async def test_beyond_the_concurrent_limit_calls_are_refused(bench: Bench) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(request: Any, context: Any) -> Any:
        begun.set()
        await go_on.wait()
        return request

    served = await bench.serve(methods={"UnaryUnary": hold}, maximum_concurrent_rpcs=1)
    first = served.stub.UnaryUnary(note("first"))
    await begun.wait()
    assert await status(served.stub.UnaryUnary(note("second"))) == REFUSED
    go_on.set()
    assert await first == note("first")
    # The method may return a little later than its answer arrives.
    while (ended := await status(served.stub.UnaryUnary(note("third")))) == REFUSED:
        pass
    assert ended == (grpc.StatusCode.OK, "")


# grpc.aio's server refuses some of them as well.
@pytest.mark.parametrize("ends", NATIVE_SERVERS, ids=str)
async def test_beyond_the_limit_of_streams_calls_wait(bench: Bench) -> None:
    running, most = 0, 0
    two = asyncio.Barrier(2)

    async def count(request: Any, context: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await two.wait()
        running -= 1
        return request

    served = await bench.serve(methods={"UnaryUnary": count}, options=[("grpc.max_concurrent_streams", 2)])
    await served.channel.channel_ready()
    requests = [note(str(number)) for number in range(10)]
    assert await asyncio.gather(*(served.stub.UnaryUnary(each) for each in requests)) == requests
    assert most == 2


async def test_a_registered_method_may_be_given_by_hand(bench: Bench) -> None:
    server = bench.make_server()
    server.add_registered_method_handlers("a.B", {"C": grpc.unary_unary_rpc_method_handler(say_a)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = bench.connect(f"127.0.0.1:{port}")
    assert await channel.unary_unary("/a.B/C")(b"") == b"a"

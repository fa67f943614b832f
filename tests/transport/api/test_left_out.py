import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

from transport.api.differences import SYNCHRONOUS_METHOD
from transport.api.messages import note, services
from transport.api.reading import status
from transport.api.serving import ANY_PORT, Bench
from transport.api.transports import ONLY_NATIVE

only_native = pytest.mark.parametrize("ends", ONLY_NATIVE, ids=str)


class Nothing(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


async def test_a_method_that_is_not_asynchronous(bench: Bench) -> None:
    places = []

    def answer(request: Any, context: Any) -> Any:
        is_here = threading.current_thread() is threading.main_thread()
        places.append("on the event loop" if is_here else "in a thread")
        return request

    served = await bench.serve(methods={"UnaryUnary": answer})
    assert await served.stub.UnaryUnary(note("a")) == note("a")
    assert places == [SYNCHRONOUS_METHOD.at(bench.ends.server)]


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"])
async def test_what_a_servicer_leaves_out_is_unimplemented(
    bench: Bench, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = bench.make_server()
    services.add_ProbeServicer_to_server(services.ProbeServicer(), server)
    port = server.add_insecure_port(ANY_PORT)
    await server.start()
    stub = services.ProbeStub(bench.connect(f"127.0.0.1:{port}"))
    call = getattr(stub, method)(*[note()] if method.startswith("Unary") else [])
    code, details = await status(call)
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert details.endswith("Method not implemented!")


@only_native
async def test_there_is_no_thread_pool(bench: Bench) -> None:
    with ThreadPoolExecutor() as pool, pytest.raises(ValueError, match="migration_thread_pool"):
        bench.make_server(pool)


@only_native
async def test_there_are_no_interceptors_on_a_channel(bench: Bench) -> None:
    with pytest.raises(ValueError, match="interceptors"):
        bench.connect("127.0.0.1:1", interceptors=[Nothing()])


@only_native
async def test_there_are_no_credentials_of_a_call(bench: Bench) -> None:
    served = await bench.serve()
    with pytest.raises(ValueError, match="credentials"):
        served.stub.UnaryUnary(note(), credentials=grpc.access_token_call_credentials("token"))

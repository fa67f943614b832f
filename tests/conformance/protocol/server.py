"""`python -m conformance.protocol.server OPTIONS`: a native server of `/test.Probe/...`, with options as a JSON object.

It prints its port, and with the option `test.tls` that of another with TLS, and serves until its stdin ends. Whatever
it complains about, to the log or to its loop, is kept, for `State` to tell.
"""

import asyncio
import gc
import json
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import uvloop

from yais import transport

SERVICE = "test.Probe"
INFER = "/inference.GRPCInferenceService/ModelInfer"
ANY_PORT = "127.0.0.1:0"
_PORTION = b"x" * 65536


class Complaints(logging.Handler):
    """What was logged as a warning or worse, and what the loop was told of, since it was last asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def handle_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.texts.append(f"{context['message']}: {context.get('exception')!r}")

    def take(self) -> list[str]:
        texts, self.texts = self.texts, []
        return texts


class Probe:
    """The methods that run as coroutines."""

    def __init__(self) -> None:
        self.waiting = 0

    async def copy(self, request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return request

    async def wait(self, *_: Any) -> bytes:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        return b""

    async def describe(self, _: bytes, context: grpc.aio.ServicerContext) -> bytes:
        metadata = [(key, value if isinstance(value, str) else value.hex()) for key, value in _pairs(context)]
        return json.dumps({"metadata": metadata, "remaining": context.time_remaining()}).encode()

    async def abort(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        code, details = json.loads(request)
        await context.abort(next(status for status in grpc.StatusCode if status.value[0] == code), details)

    async def count(self, requests: AsyncIterator[bytes], _: grpc.aio.ServicerContext) -> bytes:
        return json.dumps([len(request) async for request in requests]).encode()

    async def chat(self, requests: AsyncIterator[bytes], _: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def pour(self, request: bytes, _: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield _PORTION

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Copy": grpc.unary_unary_rpc_method_handler(self.copy),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Deaf": grpc.stream_unary_rpc_method_handler(self.wait),
            "Describe": grpc.unary_unary_rpc_method_handler(self.describe),
            "Abort": grpc.unary_unary_rpc_method_handler(self.abort),
            "Count": grpc.stream_unary_rpc_method_handler(self.count),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Pour": grpc.unary_stream_rpc_method_handler(self.pour),
        }


def _pairs(context: grpc.aio.ServicerContext) -> list[tuple[str, str | bytes]]:
    return list(context.invocation_metadata())


def raw_methods(state: Callable[[], dict[str, Any]]) -> dict[str, Callable[[transport.ServerCall, memoryview], None]]:
    """`Large` answers with as many bytes as it is asked for, new ones each time; `Hold` never answers."""
    return {
        "Echo": lambda call, message: call.respond(message),
        "Large": lambda call, message: call.respond(b"x" * int(bytes(message))),
        "Size": lambda call, message: call.respond(b"%d" % len(message)),
        "Hold": lambda call, message: None,
        "State": lambda call, message: call.respond(json.dumps(state()).encode()),
    }


def credentials() -> transport.ServerCredentials:
    # It takes a tenth of a second, which most servers can do without.
    import trustme

    certificate = trustme.CA().issue_cert("127.0.0.1")
    pair = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    return transport.ssl_server_credentials([pair])


async def serve(options: dict[str, Any]) -> None:
    complaints, probe = Complaints(), Probe()
    logging.getLogger().addHandler(complaints)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(complaints.handle_loop)
    is_secure = options.pop("test.tls", False)
    server = transport.server(options=list(options.items()))

    def state() -> dict[str, Any]:
        return {
            "complaints": complaints.take(),
            "waiting": probe.waiting,
            "tasks": len(asyncio.all_tasks()),
            "connections": sum(type(thing).__name__ == "ServerProtocol" for thing in gc.get_objects()),
            "files": len(os.listdir("/proc/self/fd")),
        }

    # An echo of a request, read as a response, has the id that a canary looks for.
    server.add_raw_method(INFER, lambda call, message: call.respond(message))
    for name, method in raw_methods(state).items():
        server.add_raw_method(f"/{SERVICE}/{name}", method)
    server.add_registered_method_handlers(SERVICE, probe.handlers())
    ports = [server.add_insecure_port(ANY_PORT)]
    if is_secure:
        ports.append(server.add_secure_port(ANY_PORT, credentials()))
    await server.start()
    print(*ports, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    _, largest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (largest, largest))
    uvloop.run(serve(json.loads(sys.argv[1])))

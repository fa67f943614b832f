"""A call over the native transport, whose nghttp2 must be the one that came with it."""

import asyncio
from pathlib import Path

from yais import transport
from yais.proto.grpc_service_pb2 import ServerLiveRequest, ServerLiveResponse
from yais.proto.grpc_service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    GRPCInferenceServiceStub,
    add_GRPCInferenceServiceServicer_to_server,
)


class Alive(GRPCInferenceServiceServicer):
    """Answers one method."""

    async def ServerLive(self, request: ServerLiveRequest, context: object) -> ServerLiveResponse:
        return ServerLiveResponse(live=True)


async def call() -> bool:
    server = transport.server()
    add_GRPCInferenceServiceServicer_to_server(Alive(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with transport.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer: ServerLiveResponse = await GRPCInferenceServiceStub(channel).ServerLive(ServerLiveRequest(), timeout=10)
    await server.stop(None)
    return answer.live


assert asyncio.run(call())
loaded = {Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if "libnghttp2" in line}
assert {path.parent.name for path in loaded} == {"yais.libs"}, loaded

"""`grpc.health.v1` for orchestrators and load balancers, with Check and Watch.

grpcio-health-checking's own servicer holds a lock while it writes to a watcher, so that one who never reads would stall
the drain; its messages are used here, its servicer is not.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from yais.server.errors import UnreadableError
from yais.server.grpc.status import UNREADABLE, CallContext, abort_with, convert_errors

# "" stands for the whole server; "ready" for readiness probes; Triton's users ask for the service's own name.
SERVICES = ("", "ready", "inference.GRPCInferenceService")


class HealthService(HealthServicer):
    """SERVING for the server and each of its models until `drain`; other names are unknown."""

    def __init__(self, models: Iterable[str]) -> None:
        self._names = {*SERVICES, *models}
        self._draining = False
        self._stopped = False
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Answers NOT_SERVING from now on, and notifies all watchers."""
        self._draining = True
        self._notify()

    def stop(self) -> None:
        """Ends the streams of all watchers; a graceful stop of the transport would wait for them."""
        self._stopped = True
        self._notify()

    @convert_errors
    async def Check(self, request: HealthCheckRequest, context: CallContext) -> HealthCheckResponse:
        if request.service not in self._names:
            await context.abort(StatusCode.NOT_FOUND, f"unknown service '{request.service}'")
        return self._response(request.service)

    async def Watch(self, request: HealthCheckRequest, context: CallContext) -> AsyncIterator[HealthCheckResponse]:
        """The status now and at each change. An unknown name stays on the line as SERVICE_UNKNOWN, as specified."""
        if request is UNREADABLE:
            await abort_with(context, UnreadableError())
        last = None
        while True:
            # Read together, before anything is awaited: what changes while the response is sent sets this very event.
            changed, stopped, response = self._changed, self._stopped, self._response(request.service)
            if response != last:
                yield response
            if stopped:
                return
            last = response
            await changed.wait()

    def _response(self, service: str) -> HealthCheckResponse:
        # Only Watch gets here with such a name: Check has answered NOT_FOUND.
        if service not in self._names:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        return HealthCheckResponse(
            status=HealthCheckResponse.NOT_SERVING if self._draining else HealthCheckResponse.SERVING
        )

    def _notify(self) -> None:
        # Watchers have the old event, which stays set however late they look.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

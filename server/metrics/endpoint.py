"""The metrics port: `/metrics` for Prometheus, and the health of the server for whoever speaks only HTTP."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client.metrics_core import Metric

from yais.server.metrics.text import CONTENT_TYPE, render


class MetricsEndpoint:
    """Serves over HTTP what `collect` and `is_ready` tell when asked."""

    def __init__(self, collect: Callable[[], Awaitable[Iterable[Metric]]], is_ready: Callable[[], bool]) -> None:
        self._collect = collect
        self._is_ready = is_ready
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v2/health/live", self._live)
        app.router.add_get("/v2/health/ready", self._ready)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port, which the system chose if `port` is 0. Raises OSError when it is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=render(await self._collect()).encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self._is_ready() else 503)

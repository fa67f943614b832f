"""Metrics port: `/metrics` in Prometheus's text format 0.0.4, and the health of the server over HTTP.

prometheus_client's own writer renames every counter to `…_total` in its TYPE line, which takes the type away from
Triton's counters: they have no such suffix. Labels are in alphabetical order with `le` and `quantile` last, as Triton
has them.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LAST_LABELS = ("le", "quantile")


class MetricsEndpoint:
    """Serves over HTTP what `collect` and `is_ready` return at that moment."""

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
        # Of an address of IPv4 or IPv6; all sites of a host have the same port.
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


def render(families: Iterable[Metric]) -> str:
    """The families as text, one block each."""
    return "".join(line for family in families for line in _block(family))


def _block(family: Metric) -> Iterator[str]:
    # prometheus_client strips `_total` and `_info` from a family's name; its samples still have them.
    full = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
    name = full if any(sample.name == full for sample in family.samples) else family.name
    kind = {"unknown": "untyped", "info": "gauge", "stateset": "gauge"}.get(family.type, family.type)
    yield f"# HELP {name} {_escaped(family.documentation)}\n"
    yield f"# TYPE {name} {kind}\n"
    for sample in family.samples:
        names = sorted(sample.labels, key=lambda name: (name in _LAST_LABELS, name))
        pairs = ",".join(f'{name}="{_escaped(sample.labels[name], quotes=True)}"' for name in names)
        labels = f"{{{pairs}}}" if pairs else ""
        yield f"{sample.name}{labels} {_value(sample.value)}\n"


def _escaped(text: str, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def _value(value: float) -> str:
    """Whole numbers without exponent or fraction, since some of Triton's readers know no others."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))

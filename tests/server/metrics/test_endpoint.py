import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from server.fake_engine import FakeEngine, options
from server.fake_nvml import FakeNvml, two_gpus
from yais import __version__
from yais.server.metrics.exposition import MetricsEndpoint
from yais.server.metrics.families import all_families
from yais.server.metrics.gpu import GpuSampler
from yais.server.metrics.nvml import Nvml
from yais.server.metrics.process_stats import ProcessReader, ProcessStats
from yais.server.models.model import Model

HOST = "127.0.0.1"


class Page:
    """A metrics port in service."""

    def __init__(self, model: Model) -> None:
        self.is_ready = True
        self.in_flight = 3
        self.port = 0
        self.endpoint = MetricsEndpoint(self._families, lambda: self.is_ready)
        self._model = model
        self._gpus = GpuSampler(Nvml(FakeNvml(*two_gpus()), {}))
        self._gpus.sample(0)
        self._process = ProcessReader()

    async def _families(self) -> Iterator[Metric]:
        model = self._model
        stats = ProcessStats(
            [model.recorder.read()], {model.name: model.pool.waiting}, self.in_flight, self._process.read()
        )
        return all_families(stats, self._gpus)

    async def get(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        """Status, content type and text."""
        timeout = aiohttp.ClientTimeout(30)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, f"http://{HOST}:{self.port}{path}") as response,
        ):
            return response.status, response.headers.get("Content-Type", ""), await response.text()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page(Model("m", FakeEngine(), options(), asyncio.get_running_loop()))
    page.port = await page.endpoint.start(HOST, 0)
    yield page
    await page.endpoint.stop()


async def test_the_metrics_are_a_page_that_prometheus_reads(page: Page) -> None:
    status, content_type, text = await page.get("/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["yais_executor_queue_depth"].samples[0].value == 3
    assert families["yais_build_info"].samples[0].labels["version"] == __version__
    assert families["yais_gpus_power_usage"].samples[0].value == 71.5
    assert families["nv_inference_pending_request_count"].samples[0].value == 0
    assert families.keys() >= {
        "yais_inference_compute_duration_ms",
        "yais_inference_load_ratio",
        "nv_inference_request_success",
        "nv_cpu_utilization",
        "process_resident_memory_bytes",
        "python_info",
        "python_gc_collections",
    }


async def test_every_scrape_is_up_to_date(page: Page) -> None:
    for in_flight in (0, 7):
        page.in_flight = in_flight
        assert f"\nyais_executor_queue_depth {in_flight}\n" in (await page.get("/metrics"))[2]


async def test_gpus_are_told_in_plain_decimals_under_their_uuids(page: Page) -> None:
    _, _, text = await page.get("/metrics")
    assert '\nnv_gpu_memory_total_bytes{gpu_uuid="GPU-0"} 85899345920\n' in text
    assert '\nnv_gpu_memory_used_bytes{gpu_uuid="MIG-b"} 7516192768\n' in text
    assert '\nnv_gpu_utilization{gpu_uuid="GPU-0"} 0.57\n' in text


async def test_each_family_is_declared_once(page: Page) -> None:
    _, _, text = await page.get("/metrics")
    declared = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared))


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
async def test_readiness_is_the_servers_and_liveness_is_not(page: Page, is_ready: bool, status: int) -> None:
    page.is_ready = is_ready
    assert (await page.get("/v2/health/ready"))[0] == status
    assert (await page.get("/v2/health/live"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/v2", 404), ("POST", "/metrics", 405)]
)
async def test_nothing_else_is_served(page: Page, method: str, path: str, status: int) -> None:
    assert (await page.get(path, method))[0] == status


async def test_a_port_that_is_taken_is_an_error(page: Page) -> None:
    with socket.create_server((HOST, 0)) as taken:
        endpoint = MetricsEndpoint(page._families, lambda: True)
        with pytest.raises(OSError, match="address already in use"):
            await endpoint.start(HOST, taken.getsockname()[1])
        await endpoint.stop()

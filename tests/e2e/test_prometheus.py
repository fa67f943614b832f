import json
import math
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from e2e.callers import callers
from e2e.conftest import Engines
from e2e.peers import PROMETHEUS, require
from e2e.serving import HOST, eventually, run_server

CONFIG = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
- job_name: yais
  static_configs: [{{targets: ["{target}"]}}]
"""

# What the original's and Triton's dashboards and autoscaling rules ask. Under load each of these has a series above 0.
POSITIVE = [
    "rate(yais_inference_load_ratio_count[5s])",
    "irate(yais_inference_load_ratio_count[5s])",
    "sum by (le) (irate(yais_inference_load_ratio_bucket[15s]))",
    "yais_executor_queue_depth",
    'yais_inference_request_duration_ms{quantile="0.99"}',
    'yais_inference_compute_duration_ms{quantile="0.5"}',
    'histogram_quantile(0.99, sum by (le, model) (rate(yais_inference_stage_duration_ms_bucket{stage="request"}[1m])))',
    "sum by (pod) (rate(nv_inference_count[1m]))",
    "sum(nv_inference_request_success) by (pod)",
    "sum(rate(nv_inference_compute_infer_duration_us[30s])) by (model) / 1000",
    "avg(rate(nv_inference_queue_duration_us[30s]) / (1 + rate(nv_inference_request_success[30s]))) by (pod)",
    "avg(delta(nv_inference_queue_duration_us[30s]) / (1 + delta(nv_inference_request_success[30s])))",
    "irate(nv_inference_compute_infer_duration_us[30s]) / 1000 / irate(nv_inference_request_success[30s])",
    "sum by (model, version) (rate(nv_inference_request_success[30s]) / rate(nv_inference_exec_count[30s]))",
    "rate(nv_inference_queue_duration_us[30s]) / rate(nv_inference_compute_infer_duration_us[30s])",
    "nv_inference_count / nv_inference_exec_count",
    'nv_inference_request_summary_us{quantile="0.999"}',
    "nv_cpu_utilization * 100",
    "nv_cpu_memory_used_bytes / nv_cpu_memory_total_bytes",
    "process_resident_memory_bytes",
    "up",
]
# These have an answer, but nothing to say here: no request fails, and there may be no GPU.
OTHERS = [
    "sum(rate(nv_inference_request_failure[1m])) by (reason)",
    "yais_gpus_power_usage",
    "nv_gpu_utilization * 100",
]
TYPES = {
    "yais_inference_load_ratio": "histogram",
    "yais_inference_request_duration_ms": "summary",
    "yais_executor_queue_depth": "gauge",
    "nv_inference_request_success": "counter",
    "nv_inference_request_failure": "counter",
    "nv_inference_queue_duration_us": "counter",
    "nv_inference_pending_request_count": "gauge",
    "nv_inference_request_summary_us": "summary",
}


class Prometheus:
    """One that scrapes a server; `api` asks it as a dashboard does."""

    def __init__(self, port: int) -> None:
        self._base = f"http://{HOST}:{port}"

    def is_ready(self) -> bool:
        try:
            with urlopen(f"{self._base}/-/ready", timeout=5):
                return True
        except HTTPError as error:
            error.close()
            return False
        except (URLError, ConnectionError):
            return False

    def api(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self._base}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            reply = json.load(answer)
        assert reply["status"] == "success"
        return reply["data"]

    def query(self, promql: str) -> list[float]:
        """The value of each series of the answer."""
        return [float(series["value"][1]) for series in self.api("query", query=promql)["result"]]


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def run_prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(target=target))
    command: list[str | Path] = [
        require(PROMETHEUS),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        prometheus = Prometheus(port)
        eventually(lambda: process.poll() is None and prometheus.is_ready(), (folder / "log").read_text())
        yield prometheus
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def prometheus(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes a server under a steady load."""
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        run_server(*engines.flags("mlp", "slow")) as server,
        callers(server, ("mlp", 2), ("slow=5", 2)),
        run_prometheus(folder, f"{HOST}:{server.metrics_port}") as prometheus,
    ):
        yield prometheus


@pytest.mark.parametrize("promql", POSITIVE)
def test_a_dashboards_query_is_answered_under_load(prometheus: Prometheus, promql: str) -> None:
    def is_answered() -> bool:
        values = prometheus.query(promql)
        return all(map(math.isfinite, values)) and max(values, default=0) > 0

    eventually(is_answered, f"a value above 0 for {promql}, but {prometheus.query(promql)}")


@pytest.mark.parametrize("promql", OTHERS)
def test_a_query_without_anything_to_report_is_answered_too(prometheus: Prometheus, promql: str) -> None:
    assert all(value >= 0 for value in prometheus.query(promql))


def test_the_target_is_healthy(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.query("up") == [1], "a scrape")
    (target,) = prometheus.api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


@pytest.mark.parametrize("family", TYPES)
def test_prometheus_knows_the_type_of_a_family(prometheus: Prometheus, family: str) -> None:
    metadata = eventually(lambda: prometheus.api("metadata", metric=family), f"metadata of {family}")
    assert [entry["type"] for entry in metadata[family]] == [TYPES[family]]

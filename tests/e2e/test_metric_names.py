import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.peers import ROOT
from e2e.scrape import parse
from e2e.serving import Serving

# Families that only a machine with a GPU has.
WITH_A_GPU = {
    "yais_gpus_power_usage",
    "nv_gpu_utilization",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_usage",
    "nv_gpu_power_limit",
    "nv_energy_consumption",
}

_METRIC = re.compile(r"\b(?:yais_(?:inference|gpus|executor|build)|nv)_[a-z0-9_]*[a-z0-9]\b")


def metrics_in(text: str) -> set[str]:
    """The metrics that a query, a dashboard, a relabelling rule or a page names."""
    return set(_METRIC.findall(text))


def files() -> Iterator[Path]:
    """Read by people who set up dashboards, alerts and autoscaling; deploy/ is also read by the machines themselves."""
    yield from (path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file())
    yield from (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))


@pytest.fixture(scope="module")
def exported(server: Serving) -> set[str]:
    """All names by which something can be asked for: of families, and of their series."""
    page = server.get("/metrics")[1]
    return {name for name, _ in parse(page)} | set(re.findall(r"^# TYPE (\w+)", page, flags=re.MULTILINE)) | WITH_A_GPU


@pytest.mark.parametrize("path", [*files()], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_metric_that_a_file_names_is_exported(exported: set[str], path: Path) -> None:
    assert metrics_in(path.read_text()) - exported == set()


def test_a_metric_that_is_not_exported_would_be_found(exported: set[str]) -> None:
    rule = (
        'sum(rate(nv_inference_load_ratio_bucket{le="1.5"}[2m])) / yais_inference_load_ratio_count > nv_cpu_utilization'
    )
    assert metrics_in(rule) - exported == {"nv_inference_load_ratio_bucket"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("irate(yais_executor_queue_depth[5s])", {"yais_executor_queue_depth"}),
        (
            "  - `nv_inference_count`, `nv_inference_exec_count` | counter",
            {"nv_inference_count", "nv_inference_exec_count"},
        ),
        ('regex: "nv_inference_(.+)"', set()),
        ("{__name__='yais_gpus_power_usage', gpu='0'}", {"yais_gpus_power_usage"}),
        ("env YAIS_PORT, image yais_demo, recv_nv_x", set()),
    ],
)
def test_names_are_found_in_any_text(text: str, names: set[str]) -> None:
    assert metrics_in(text) == names


def test_the_metrics_page_names_every_family_of_ours(server: Serving) -> None:
    families = re.findall(r"^# TYPE ((?:yais|nv)_\w+)", server.get("/metrics")[1], flags=re.MULTILINE)
    assert set(families) - metrics_in((ROOT / "docs/metrics.md").read_text()) == set()

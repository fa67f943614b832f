import math
import platform

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric

from server.fake_requests import FakeRequest
from yais import __version__
from yais.server.metrics import families as families_module
from yais.server.metrics.exposition import render
from yais.server.metrics.families import build_info, host_families, triton_families, yais_families
from yais.server.metrics.recorder import LOAD_RATIO_BUCKETS, STAGE_BUCKETS_MS, STAGES, InferenceRecorder

MS = 1_000_000

# Triton 2.51's text for a model of which two requests were answered, in one batch, and one was refused.
TRITON = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="add",version="1"} 2
# HELP nv_inference_request_failure Number of failed inference requests, all batch sizes
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="add",reason="OTHER",version="1"} 1
nv_inference_request_failure{model="add",reason="BACKEND",version="1"} 0
nv_inference_request_failure{model="add",reason="CANCELED",version="1"} 0
nv_inference_request_failure{model="add",reason="REJECTED",version="1"} 0
# HELP nv_inference_count Number of inferences performed (does not include cached requests)
# TYPE nv_inference_count counter
nv_inference_count{model="add",version="1"} 6
# HELP nv_inference_exec_count Number of model executions performed (does not include cached requests)
# TYPE nv_inference_exec_count counter
nv_inference_exec_count{model="add",version="1"} 1
# HELP nv_inference_request_duration_us Cumulative inference request duration in microseconds (includes cached requests)
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{model="add",version="1"} 60000
# HELP nv_inference_queue_duration_us Cumulative inference queuing duration in microseconds (includes cached requests)
# TYPE nv_inference_queue_duration_us counter
nv_inference_queue_duration_us{model="add",version="1"} 4000
# HELP nv_inference_compute_input_duration_us Cumulative compute input duration in microseconds (does not include \
cached requests)
# TYPE nv_inference_compute_input_duration_us counter
nv_inference_compute_input_duration_us{model="add",version="1"} 2000
# HELP nv_inference_compute_infer_duration_us Cumulative compute inference duration in microseconds (does not include \
cached requests)
# TYPE nv_inference_compute_infer_duration_us counter
nv_inference_compute_infer_duration_us{model="add",version="1"} 30000
# HELP nv_inference_compute_output_duration_us Cumulative inference compute output duration in microseconds (does not \
include cached requests)
# TYPE nv_inference_compute_output_duration_us counter
nv_inference_compute_output_duration_us{model="add",version="1"} 6000
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="add",version="1"} 7
"""
SUMMARIES = {
    "nv_inference_request_summary_us": ("Summary of inference request duration", "includes", 60000, 30000),
    "nv_inference_queue_summary_us": ("Summary of inference queuing duration", "includes", 4000, 2000),
    "nv_inference_compute_input_summary_us": ("Cumulative compute input duration", "does not include", 2000, 1000),
    "nv_inference_compute_infer_summary_us": (
        "Cumulative compute inference duration",
        "does not include",
        30000,
        15000,
    ),
    "nv_inference_compute_output_summary_us": (
        "Cumulative inference compute output duration",
        "does not include",
        6000,
        3000,
    ),
}


@pytest.fixture
def recorder() -> InferenceRecorder:
    """Two requests of 3 rows that took 30 ms each, of which 2 waiting, 1 input, 15 infer, and 3 output with copies."""
    recorder = InferenceRecorder("add", "1", lambda: 30 * MS)
    requests = [FakeRequest(np.zeros((3, 1), np.int64), arrived=0) for _ in range(2)]
    recorder.record(
        rows=6,
        started=2 * MS,
        input_ns=1 * MS,
        infer_ns=15 * MS,
        output_ns=3 * MS,
        now=30 * MS,
        answered=requests,
        padding=26,
    )
    recorder.fail("OTHER", 5 * MS)
    return recorder.read()


@pytest.fixture
def idle() -> InferenceRecorder:
    return InferenceRecorder("idle", "1", lambda: 0).read()


def by_name(families: list[Metric]) -> dict[str, Metric]:
    named = {family.name: family for family in families}
    assert len(named) == len(families)
    return named


def test_counters_and_gauges_are_tritons_to_the_letter(recorder: InferenceRecorder) -> None:
    families = list(triton_families([recorder], lambda _: 7))
    assert render(family for family in families if family.type != "summary") == TRITON


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_are_tritons_with_its_quantiles(recorder: InferenceRecorder, name: str) -> None:
    text, cached, total, median = SUMMARIES[name]
    family = by_name(list(triton_families([recorder], lambda _: 0)))[name]
    assert family.type == "summary"
    assert family.documentation == f"{text} in microseconds ({cached} cached requests)"
    count, sum_, *quantiles = family.samples
    assert (count.name, count.labels, count.value) == (f"{name}_count", {"model": "add", "version": "1"}, 2)
    assert (sum_.name, sum_.labels, sum_.value) == (f"{name}_sum", {"model": "add", "version": "1"}, total)
    assert [each.labels["quantile"] for each in quantiles] == ["0.5", "0.9", "0.95", "0.99", "0.999"]
    assert {each.name for each in quantiles} == {name}
    assert [each.value for each in quantiles] == pytest.approx([median] * 5, rel=0.011)


def test_there_are_no_other_triton_families(recorder: InferenceRecorder) -> None:
    names = {family.name for family in triton_families([recorder], lambda _: 0) if family.type == "summary"}
    assert names == SUMMARIES.keys()


@pytest.mark.parametrize(
    ("name", "total", "value"),
    [("yais_inference_compute_duration_ms", 30, 15), ("yais_inference_request_duration_ms", 60, 30)],
)
def test_the_originals_summaries_have_their_quantiles(
    recorder: InferenceRecorder, name: str, total: float, value: float
) -> None:
    family = by_name(list(yais_families([recorder])))[name]
    assert family.type == "summary"
    assert all(sample.labels["model"] == "add" and "version" not in sample.labels for sample in family.samples)
    count, sum_, *quantiles = family.samples
    assert (count.value, sum_.value) == (2, total)
    assert [each.labels["quantile"] for each in quantiles] == ["0.5", "0.9", "0.99"]
    assert [each.value for each in quantiles] == pytest.approx([value] * 3, rel=0.011)


def buckets(family: Metric, **labels: str) -> dict[str, float]:
    return {
        sample.labels["le"]: sample.value
        for sample in family.samples
        if sample.name == f"{family.name}_bucket" and labels.items() <= sample.labels.items()
    }


def test_the_load_ratio_is_a_histogram_with_cumulated_buckets(recorder: InferenceRecorder) -> None:
    family = by_name(list(yais_families([recorder])))["yais_inference_load_ratio"]
    assert family.type == "histogram"
    bounds = [str(bound) for bound in LOAD_RATIO_BUCKETS]
    assert list(buckets(family)) == [*bounds, "+Inf"]
    assert buckets(family) == {le: 2 if float(le) >= 2 else 0 for le in (*bounds, "+Inf")}
    assert [(each.name, each.value) for each in family.samples[-2:]] == [
        ("yais_inference_load_ratio_count", 2),
        ("yais_inference_load_ratio_sum", 4.0),
    ]


def test_every_stage_is_a_histogram_in_milliseconds(recorder: InferenceRecorder) -> None:
    family = by_name(list(yais_families([recorder])))["yais_inference_stage_duration_ms"]
    assert family.type == "histogram"
    for stage, value in zip(STAGES, (30, 2, 1, 15, 3), strict=True):
        held = buckets(family, stage=stage)
        assert list(held) == [*map(str, STAGE_BUCKETS_MS), "+Inf"]
        assert held == {le: 2 if float(le) >= value else 0 for le in held}


def test_padded_rows_are_a_counter_of_their_own(recorder: InferenceRecorder, idle: InferenceRecorder) -> None:
    text = render(list(yais_families([recorder, idle])))
    assert "# TYPE yais_inference_padded_rows_total counter\n" in text
    assert [line for line in text.splitlines() if line.startswith("yais_inference_padded_rows")] == [
        'yais_inference_padded_rows_total{model="add"} 26',
        f'yais_inference_padded_rows_total{{model="{idle.model}"}} 0',
    ]


def test_the_families_of_yais_itself(recorder: InferenceRecorder) -> None:
    assert list(by_name(list(yais_families([recorder])))) == [
        "yais_inference_compute_duration_ms",
        "yais_inference_request_duration_ms",
        "yais_inference_load_ratio",
        "yais_inference_stage_duration_ms",
        "yais_inference_padded_rows",
    ]


def test_a_model_that_did_nothing_has_all_series_with_zeros_and_no_quantiles(idle: InferenceRecorder) -> None:
    for family in (*yais_families([idle]), *triton_families([idle], lambda _: 0)):
        assert family.samples
        for sample in family.samples:
            assert math.isnan(sample.value) if "quantile" in sample.labels else sample.value == 0


def test_every_model_has_its_own_series_in_one_family(recorder: InferenceRecorder, idle: InferenceRecorder) -> None:
    waiting = {"add": 3, "idle": 4}
    families = [*yais_families([recorder, idle]), *triton_families([recorder, idle], lambda each: waiting[each.model])]
    for family in families:
        assert {sample.labels["model"] for sample in family.samples} == {"add", "idle"}
    pending = by_name(families)["nv_inference_pending_request_count"]
    assert {sample.labels["model"]: sample.value for sample in pending.samples} == waiting


def test_the_build_is_a_gauge_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"version": __version__, "commit": "0388b2d4ac12", "python": platform.python_version()}
    monkeypatch.setattr(families_module, "commit", lambda: "0388b2d4ac12")
    (sample,) = build_info().samples
    assert (sample.name, sample.labels, sample.value) == ("yais_build_info", labels, 1)
    monkeypatch.setattr(families_module, "commit", lambda: None)
    assert build_info().samples[0].labels["commit"] == "unknown"


def test_the_machines_gauges_have_tritons_names() -> None:
    values = {}
    for family in host_families():
        assert family.type == "gauge"
        (sample,) = family.samples
        assert (sample.name, sample.labels) == (family.name, {})
        values[family.name] = sample.value
    assert list(values) == [
        "nv_pinned_memory_pool_total_bytes",
        "nv_pinned_memory_pool_used_bytes",
        "nv_cpu_utilization",
        "nv_cpu_memory_total_bytes",
        "nv_cpu_memory_used_bytes",
    ]
    assert 0 <= values["nv_cpu_utilization"] <= 1
    assert 0 < values["nv_cpu_memory_used_bytes"] < values["nv_cpu_memory_total_bytes"]

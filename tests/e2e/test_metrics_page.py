import subprocess
import tomllib
from pathlib import Path

import pytest

from e2e.calls import ask, mlp_request, outcomes, picky_request, request, slow_request
from e2e.conftest import Engines
from e2e.peers import PROMTOOL, require
from e2e.scrape import Family, families, growth, total
from e2e.serving import Serving, run_server
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

TRITONS = {
    name: Family(name, kind, text, frozenset(tuple(names.split()) for names in labels))
    for name, (kind, text, labels) in tomllib.loads(
        Path(__file__).with_name("data").joinpath("triton_metrics.toml").read_text()
    ).items()
}
OURS: dict[str, tuple[str, set[tuple[str, ...]]]] = {
    "yais_inference_compute_duration_ms": ("summary", {("model",), ("model", "quantile")}),
    "yais_inference_request_duration_ms": ("summary", {("model",), ("model", "quantile")}),
    "yais_inference_load_ratio": ("histogram", {("model",), ("model", "le")}),
    "yais_inference_stage_duration_ms": ("histogram", {("model", "stage"), ("model", "stage", "le")}),
    "yais_executor_queue_depth": ("gauge", {()}),
    "yais_build_info": ("gauge", {("commit", "python", "version")}),
}
# What is left to say: the original's names, which dashboards know, have milliseconds in them.
ABOUT_UNITS = "metric names should not contain abbreviated units"
ORIGINAL_BUCKETS = {"1.25", "1.5", "2", "10", "100", "+Inf"}


@pytest.fixture
def page(server: Serving, stub: GRPCInferenceServiceStub) -> str:
    """What the server says of itself after it has served."""
    assert ask(stub, mlp_request()).code == "OK"
    return server.get("/metrics")[1]


@pytest.mark.parametrize("name", TRITONS)
def test_a_family_of_tritons_has_its_type_help_and_labels(page: str, name: str) -> None:
    assert families(page)[name] == TRITONS[name]


def test_no_other_family_bears_tritons_prefix(page: str) -> None:
    """But those of GPUs, of which there may be none."""
    of_gpus = ("nv_gpu_", "nv_energy_")
    tritons = {name for name in families(page) if name.startswith("nv_") and not name.startswith(of_gpus)}
    assert tritons == TRITONS.keys()


@pytest.mark.parametrize("name", OURS)
def test_a_family_of_ours_has_its_type_and_labels(page: str, name: str) -> None:
    family = families(page)[name]
    kind, labels = OURS[name]
    assert family.kind == kind
    assert family.labels == labels


def test_the_load_ratio_has_the_originals_buckets(page: str) -> None:
    bounds = {line.split('le="')[1].split('"')[0] for line in page.splitlines() if "load_ratio_bucket{" in line}
    assert bounds >= ORIGINAL_BUCKETS


def test_gpu_power_is_a_gauge_by_gpu_or_absent_without_one(page: str) -> None:
    power = families(page).get("yais_gpus_power_usage")
    assert power is None or (power.kind, power.labels) == ("gauge", {("gpu",)})


def test_promtool_finds_nothing_but_milliseconds_in_our_families(page: str) -> None:
    blocks = page.split("# HELP ")[1:]
    ours = "".join(f"# HELP {block}" for block in blocks if block.startswith("yais_"))
    command: list[str | Path] = [require(PROMTOOL), "check", "metrics"]
    done = subprocess.run(command, input=ours, capture_output=True, text=True, timeout=30, check=False)
    complaints = (done.stdout + done.stderr).splitlines()
    assert [complaint for complaint in complaints if not complaint.endswith(ABOUT_UNITS)] == []


def test_the_process_tells_of_itself(page: str) -> None:
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"} <= families(page).keys()


def test_durations_of_a_request_fit_into_each_other(server: Serving, stub: GRPCInferenceServiceStub) -> None:
    before = server.samples()
    assert ask(stub, slow_request(50)).code == "OK"
    after = server.samples()

    def milliseconds(stage: str) -> float:
        return growth(before, after, "yais_inference_stage_duration_ms_sum", model="slow", stage=stage)

    parts = ("queue", "input", "infer", "output")
    assert 0 < milliseconds("infer") <= sum(map(milliseconds, parts)) <= milliseconds("request")
    assert growth(before, after, "nv_inference_compute_infer_duration_us", model="slow") == pytest.approx(
        milliseconds("infer") * 1000, abs=1
    )
    for name in ("yais_inference_load_ratio", "yais_inference_stage_duration_ms"):
        buckets = growth(before, after, f"{name}_bucket", model="slow", le="+Inf")
        assert buckets == growth(before, after, f"{name}_count", model="slow") >= 1


def test_quantiles_are_of_what_was_just_served(server: Serving, stub: GRPCInferenceServiceStub) -> None:
    assert [ask(stub, slow_request(20)).code for _ in range(3)] == ["OK"] * 3
    samples = server.samples()
    median = total(samples, "yais_inference_compute_duration_ms", model="slow", quantile="0.5")
    assert median == pytest.approx(
        total(samples, "nv_inference_compute_infer_summary_us", model="slow", quantile="0.5") / 1000, rel=0.001
    )
    assert 1 < median <= total(samples, "yais_inference_request_duration_ms", model="slow", quantile="0.99")


@pytest.mark.parametrize(("path", "status"), [("/v2/health/live", 200), ("/v2/health/ready", 200), ("/nothing", 404)])
def test_the_pages_beside_the_metrics(server: Serving, path: str, status: int) -> None:
    assert server.get(path)[0] == status


def test_successes_and_failures_add_up_to_the_requests_sent(engines: Engines) -> None:
    flags = engines.flags("slow", "mlp", "picky")
    with run_server(*flags, "--max-queue-size", "3") as server, server.stub() as stub:
        ask(stub, mlp_request())
        before = server.samples()
        good = [ask(stub, mlp_request(rows)) for rows in (1, 2, 3)]
        bad = [ask(stub, mlp_request(65)), ask(stub, request("mlp", {}))]
        unknown = [ask(stub, request("nope", {})), ask(stub, mlp_request(model_version="9"))]
        failing = ask(stub, picky_request(99))
        running = stub.ModelInfer.future(slow_request(1000))
        server.wait_in_flight(1)
        waiting = [stub.ModelInfer.future(slow_request(1)) for _ in range(3)]
        server.wait_in_flight(4)
        surplus = [ask(stub, slow_request(1)) for _ in range(2)]
        waiting[0].cancel()
        server.wait_in_flight(3)
        answered = outcomes([running, *waiting[1:]])
        after = server.samples()

    assert {each.code for each in [*good, *answered]} == {"OK"}
    assert {each.code for each in bad} == {"INVALID_ARGUMENT"}
    assert {each.code for each in unknown} == {"NOT_FOUND"}
    assert (failing.code, {each.code for each in surplus}) == ("INTERNAL", {"UNAVAILABLE"})

    def counts(model: str) -> list[float]:
        reasons = ("OTHER", "BACKEND", "CANCELED", "REJECTED")
        failures = [growth(before, after, "nv_inference_request_failure", model=model, reason=each) for each in reasons]
        return [growth(before, after, "nv_inference_request_success", model=model), *failures]

    assert counts("mlp") == [3, 2, 0, 0, 0]
    assert counts("picky") == [0, 0, 1, 0, 0]
    assert counts("slow") == [3, 0, 0, 1, 2]
    assert growth(before, after, "nv_inference_count", model="mlp") == 6
    assert total(after, "nv_inference_pending_request_count") == total(after, "yais_executor_queue_depth") == 0

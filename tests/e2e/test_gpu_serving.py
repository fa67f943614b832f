"""Plans and ONNX files served on simulated GPUs."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.calls import Outcome
from e2e.conftest import Engines
from e2e.gpus import Answers, Plans, gpu_server
from e2e.scrape import growth, total
from e2e.serving import Serving
from yais.proto import grpc_service_pb2 as pb

OK = Outcome("OK")
STAGES = ("input", "infer", "output")


@pytest.fixture(scope="module")
def plans(engines: Engines) -> Plans:
    return Plans(engines)


@pytest.fixture(scope="module")
def answers(engines: Engines) -> Answers:
    return Answers(engines)


@pytest.fixture(scope="module")
def serving(plans: Plans, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A plan on one GPU, with default settings but for its contexts."""
    folder = tmp_path_factory.mktemp("gpu")
    with gpu_server(folder, "--engine", plans.path("mlp"), "--contexts", "4") as (serving, reports):
        yield serving
    (report,) = reports
    assert report["recorded"] > 0
    assert report["executables"] == 0


def log_lines(serving: Serving, text: str) -> int:
    return sum(text in line for line in serving.log.splitlines())


def test_the_banner_tells_where_the_plan_runs(serving: Serving) -> None:
    assert "  model     mlp: tensorrt_plan on cuda:0, batches of up to 64, 4 contexts, 6 buffers\n" in serving.banner


def test_many_clients_at_once_get_what_the_cpu_gives(serving: Serving, answers: Answers) -> None:
    requests = answers.rows(*(1 + number % 9 for number in range(400)))
    before = serving.samples()
    with ExitStack() as stack:
        stubs = [stack.enter_context(serving.stub()) for _ in range(8)]
        assert answers.ask(stubs, requests) == [OK] * len(requests)
        (told,) = stubs[0].ModelStatistics(pb.ModelStatisticsRequest(name="mlp")).model_stats
    after = serving.samples()
    assert growth(before, after, "nv_inference_count", model="mlp") == sum(map(len, requests))
    assert growth(before, after, "nv_inference_request_success", model="mlp") == len(requests)
    assert total(after, "nv_inference_exec_count", model="mlp") == told.execution_count
    assert sum(each.batch_size * each.compute_infer.count for each in told.batch_stats) == told.inference_count


def test_each_stage_of_a_run_is_told(serving: Serving, answers: Answers) -> None:
    before = serving.samples()
    with serving.stub() as stub:
        for rows in answers.rows(64, 64, 64):
            assert answers.ask([stub], [rows]) == [OK]
    after = serving.samples()
    for stage in STAGES:
        name = "yais_inference_stage_duration_ms"
        assert growth(before, after, f"{name}_count", model="mlp", stage=stage) == 3
        assert growth(before, after, f"{name}_sum", model="mlp", stage=stage) > 0
        assert growth(before, after, f"nv_inference_compute_{stage}_duration_us", model="mlp") > 0
    parts = sum(growth(before, after, f"nv_inference_compute_{stage}_duration_us", model="mlp") for stage in STAGES)
    assert parts < growth(before, after, "nv_inference_request_duration_us", model="mlp")
    assert growth(before, after, "yais_inference_compute_duration_ms_count", model="mlp") == 3


def test_rows_that_fill_up_a_batch_are_told_and_are_no_inferences(serving: Serving, answers: Answers) -> None:
    """Runs are recorded for 1, 2, 4, 8, 16, 32 and 64 rows."""
    before = serving.samples()
    with serving.stub() as stub:
        for rows in answers.rows(1, 3, 8, 33):
            assert answers.ask([stub], [rows]) == [OK]
    after = serving.samples()
    assert growth(before, after, "yais_inference_padded_rows_total", model="mlp") == 1 + 31
    assert growth(before, after, "nv_inference_count", model="mlp") == 1 + 3 + 8 + 33
    assert growth(before, after, "nv_inference_exec_count", model="mlp") == 4


def test_without_graphs_nothing_is_recorded_and_no_batch_filled_up(
    plans: Plans, answers: Answers, tmp_path: Path
) -> None:
    with gpu_server(tmp_path, "--engine", plans.path("mlp"), "--cuda-graphs", "off") as (serving, reports):
        with serving.stub() as stub:
            for rows in answers.rows(3, 33, 1):
                assert answers.ask([stub], [rows]) == [OK]
        assert total(serving.samples(), "yais_inference_padded_rows_total", model="mlp") == 0
    assert [report["recorded"] for report in reports] == [0]


def test_contexts_are_spread_over_two_gpus(plans: Plans, answers: Answers, tmp_path: Path) -> None:
    flags = "--engine", plans.path("mlp"), "--devices", "0,2", "--contexts", "4"
    with gpu_server(tmp_path, *flags, gpus=3) as (serving, reports):
        assert "  model     mlp: tensorrt_plan on cuda:0,cuda:2, batches of up to 64, 4 contexts" in serving.banner
        with serving.stub() as one, serving.stub() as other:
            assert set(answers.ask([one, other], answers.rows(*range(1, 65)))) == {OK}
    (report,) = reports
    assert report["memory"].keys() == {"0", "2"}
    assert report["memory"]["0"] == report["memory"]["2"]


def test_an_onnx_file_is_built_by_the_first_worker_of_the_first_start(
    engines: Engines, answers: Answers, tmp_path: Path
) -> None:
    flags = [*engines.flags("mlp"), "--device", "cuda", "--plan-cache", str(tmp_path / "plans")]
    with gpu_server(tmp_path, *flags, "--workers", "2") as (serving, reports):
        with ExitStack() as stack:
            stubs = [stack.enter_context(serving.stub()) for _ in range(8)]
            assert set(answers.ask(stubs, answers.rows(*[3] * 80))) == {OK}
        assert total(serving.samples(), "nv_inference_count", model="mlp") == 240
        assert log_lines(serving, "Building a plan of ") == log_lines(serving, "Built ") == 1
    assert len(reports) == 2
    (plan,) = (tmp_path / "plans").glob("mlp-*.engine")
    with gpu_server(tmp_path, *flags) as (serving, _), serving.stub() as stub:
        assert "mlp: tensorrt_plan on cuda:0, batches of up to 64" in serving.banner
        assert answers.ask([stub], answers.rows(5)) == [OK]
        assert log_lines(serving, "Building a plan of ") == 0
        assert log_lines(serving, f"Found {plan}, the plan of ") == 1

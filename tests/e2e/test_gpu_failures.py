"""Simulated GPUs that fail while they serve: who is told what, who goes on, and how the process ends."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from e2e.calls import Outcome, ask, mlp_request, outcome, slow_request
from e2e.conftest import Engines
from e2e.gpus import Answers, Plans, gpu_server
from e2e.scrape import total
from e2e.serving import TRANSPORT, Serving, eventually
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

OK = Outcome("OK")
LOST_DEVICE = 5
ILLEGAL_ADDRESS, OUT_OF_RESOURCES = 700, 701
BROKEN = Outcome("INTERNAL", "failed: an illegal memory access was encountered; its context was made anew")
UNTAKEN = {"CANCELLED"} if TRANSPORT == "grpcio" else set()
# Far more runs than a server makes of its own before it serves.
AFTER = 100
SMALL_BATCHES = ("--max-batch-size", "8")


@pytest.fixture(scope="module")
def plans(engines: Engines) -> Plans:
    return Plans(engines)


@pytest.fixture(scope="module")
def answers(engines: Engines) -> Answers:
    return Answers(engines)


def is_ready(serving: Serving) -> bool:
    return serving.get("/v2/health/ready")[0] == 200


def failed_runs(serving: Serving) -> float:
    return total(serving.samples(), "nv_inference_request_failure", model="mlp", reason="BACKEND")


def ask_until_refused(stubs: list[GRPCInferenceServiceStub]) -> Outcome:
    """What the first request was told that was not answered."""
    for number in range(20 * AFTER):
        told = ask(stubs[number % len(stubs)], mlp_request())
        if told != OK:
            return told
    raise AssertionError("all requests were answered")


@pytest.mark.parametrize("graphs", ["on", "off"])
def test_a_sticky_error_fails_one_request_and_all_later_ones_are_right(
    plans: Plans, answers: Answers, tmp_path: Path, graphs: str
) -> None:
    flags = "--engine", plans.path("mlp"), *SMALL_BATCHES, "--cuda-graphs", graphs
    with gpu_server(tmp_path, *flags, failure=f"execute:{ILLEGAL_ADDRESS}:after={AFTER}") as (serving, _):
        with serving.stub() as stub:
            told = [answers.ask([stub], [rows])[0] for rows in answers.rows(*[3] * (AFTER + 50))]
        (failed,) = [number for number, each in enumerate(told) if each != OK]
        assert failed > AFTER / 2
        assert told[failed].code == BROKEN.code
        assert told[failed].text.endswith(BROKEN.text)
        assert serving.log.count("The context of GPU 0 broke, and was made anew") == 1
        assert is_ready(serving)
        assert failed_runs(serving) == 1


def test_a_sticky_error_among_many_clients_fails_no_more_than_what_ran_then(
    plans: Plans, answers: Answers, tmp_path: Path
) -> None:
    flags = "--engine", plans.path("mlp"), *SMALL_BATCHES, "--contexts", "4"
    with gpu_server(tmp_path, *flags, failure=f"execute:{ILLEGAL_ADDRESS}:after={AFTER}") as (serving, _):
        with ExitStack() as stack:
            stubs = [stack.enter_context(serving.stub()) for _ in range(4)]
            told = answers.ask(stubs, answers.rows(*(1 + number % 8 for number in range(400))))
            later = answers.ask(stubs, answers.rows(*[2] * 40))
        failed = [each for each in told if each != OK]
        assert len(failed) <= 4
        assert all(each.code == BROKEN.code and each.text.endswith("; its context was made anew") for each in failed)
        assert set(later) == {OK}
        assert serving.log.count("The context of GPU 0 broke, and was made anew") == 1
        assert failed_runs(serving) == len(failed)


def test_an_error_of_one_run_alone_fails_that_one_and_resets_nothing(
    plans: Plans, answers: Answers, tmp_path: Path
) -> None:
    failure = f"cuGraphLaunch:{OUT_OF_RESOURCES}:after={AFTER}"
    with gpu_server(tmp_path, "--engine", plans.path("mlp"), *SMALL_BATCHES, failure=failure) as (serving, _):
        with serving.stub() as stub:
            told = [answers.ask([stub], [rows])[0] for rows in answers.rows(*[1] * (AFTER + 20))]
        (failed,) = [each for each in told if each != OK]
        assert failed == Outcome("INTERNAL", "cuGraphLaunch failed: too many resources requested for launch")
        assert "made anew" not in serving.log


def test_a_lost_gpu_is_told_to_callers_and_probes_while_the_rest_drains(
    plans: Plans, engines: Engines, tmp_path: Path
) -> None:
    """A model on the CPU still answers what it had accepted."""
    flags = "--engine", plans.path("mlp"), *engines.flags("slow")
    with gpu_server(tmp_path, *flags, failure=f"execute:{ILLEGAL_ADDRESS}:after={AFTER}:lost") as (serving, _):
        with serving.channel() as channel:
            stub, health = GRPCInferenceServiceStub(channel), HealthStub(channel)
            watch = health.Watch(HealthCheckRequest())
            assert next(watch).status == HealthCheckResponse.SERVING
            running = stub.ModelInfer.future(slow_request(1500))
            serving.wait_in_flight(1)
            lost = ask_until_refused([stub])
            assert (lost.code, lost.text.startswith("GPU 0 is lost: ")) == ("UNAVAILABLE", True)
            eventually(lambda: not is_ready(serving), "not ready over HTTP")
            assert next(watch).status == HealthCheckResponse.NOT_SERVING
            assert health.Check(HealthCheckRequest(service="mlp")).status == HealthCheckResponse.NOT_SERVING
            assert ask(stub, mlp_request()).code == "UNAVAILABLE"
            assert not running.done()
            assert outcome(running) == OK
        assert serving.exit_code(timeout=10) == LOST_DEVICE
        assert serving.log.count("The device of an engine is gone: GPU 0 is lost: ") == 1


def test_when_the_gpu_is_lost_under_many_clients_nobody_waits_for_ever(
    plans: Plans, answers: Answers, tmp_path: Path
) -> None:
    flags = "--engine", plans.path("mlp"), *SMALL_BATCHES, "--contexts", "4"
    failure = f"execute:{ILLEGAL_ADDRESS}:after={AFTER}:lost"
    with gpu_server(tmp_path, *flags, failure=failure) as (serving, _), ExitStack() as stack:
        stubs = [stack.enter_context(serving.stub()) for _ in range(4)]
        told = answers.ask(stubs, answers.rows(*[8] * 400))
        # grpcio's transport cancels what it had not taken up when it stops.
        assert {each.code for each in told} - UNTAKEN == {"OK", "UNAVAILABLE"}
        assert serving.exit_code(timeout=10) == LOST_DEVICE


def test_one_worker_that_loses_its_gpu_ends_them_all(plans: Plans, tmp_path: Path) -> None:
    flags = "--engine", plans.path("mlp"), *SMALL_BATCHES, "--workers", "2"
    failure = f"execute:{ILLEGAL_ADDRESS}:after={AFTER}:lost"
    with gpu_server(tmp_path, *flags, failure=failure) as (serving, reports), ExitStack() as stack:
        stubs = [stack.enter_context(serving.stub()) for _ in range(4)]
        assert ask_until_refused(stubs).code == "UNAVAILABLE"
        assert serving.exit_code(timeout=10) == LOST_DEVICE
    assert len(reports) == 2

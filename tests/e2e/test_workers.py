"""A server that is spread over processes, which clients and orchestrators are to take for one."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from processes import is_running, wait_ends

from e2e.calls import Outcome, ask, mlp_request, outcome, outcomes, picky_request, slow_request
from e2e.conftest import Engines
from e2e.scrape import total
from e2e.serving import HOST, Serving, eventually, run_command, run_server
from yais.proto.grpc_service_pb2 import ModelStatisticsRequest
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

OK = Outcome("OK")
REFUSED = Outcome("UNAVAILABLE", "GRPC server is shutting down and has stopped accepting new requests.")
# The system spreads connections by chance; that all of so many go to one of two workers happens once in 2³¹ times.
CONNECTIONS = 32
DRAINED, UNANSWERED, FAILED_START, LOST_WORKER = 0, 1, 3, 4

Stubs = list[GRPCInferenceServiceStub]


class Pair(NamedTuple):
    """A server of two workers, and connections to each of them."""

    server: Serving
    workers: list[psutil.Process]
    one: Stubs
    other: Stubs

    def wait_end(self) -> None:
        """Waits until no worker is left."""
        wait_ends(self.workers, 20)


@contextmanager
def pair(*flags: str) -> Iterator[Pair]:
    with run_server(*flags, "--workers", "2") as server, ExitStack() as stack:
        workers = psutil.Process(server.process.pid).children()
        stack.callback(end, workers)
        stubs = [stack.enter_context(server.stub()) for _ in range(CONNECTIONS)]
        assert ask(stubs[0], mlp_request()) == OK
        near = [stub for stub in stubs if answered(stub)]
        yield Pair(server, workers, near, [stub for stub in stubs if stub not in near])


def end(workers: list[psutil.Process]) -> None:
    """Ends those that a failed test may have left."""
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


@pytest.fixture
def two(engines: Engines) -> Iterator[Pair]:
    with pair(*engines.flags("mlp", "slow", "picky")) as two:
        yield two


def answered(stub: GRPCInferenceServiceStub) -> int:
    """How many requests for `mlp` were answered by the worker at the other end of this connection."""
    (model,) = stub.ModelStatistics(ModelStatisticsRequest(name="mlp")).model_stats
    count: int = model.inference_stats.success.count
    return count


def is_ready(server: Serving) -> bool:
    return server.get("/v2/health/ready")[0] == 200


def test_both_workers_serve_and_the_banner_tells_of_them(two: Pair) -> None:
    assert "\n  workers   2, each serving the models below\n" in two.server.banner
    assert two.one
    assert two.other
    assert len(two.workers) == 2
    assert is_ready(two.server)
    assert two.server.stop() == DRAINED
    two.wait_end()


def test_one_scrape_adds_up_with_what_all_clients_sent(two: Pair) -> None:
    for stubs, rows in ((two.one, 1), (two.other, 3)):
        assert [ask(stub, mlp_request(rows)) for stub in stubs] == [OK] * len(stubs)
        assert ask(stubs[0], mlp_request(65)).code == "INVALID_ARGUMENT"
        assert ask(stubs[0], picky_request(99)).code == "INTERNAL"
    running = [stubs[0].ModelInfer.future(slow_request(1000)) for stubs in (two.one, two.one, two.other)]
    two.server.wait_in_flight(3)
    pending = "nv_inference_pending_request_count"
    eventually(lambda: total(two.server.samples(), pending, model="slow") == 1, "one of two that waits")
    assert outcomes(running) == [OK] * 3

    samples = two.server.samples()
    assert total(samples, "nv_inference_request_success", model="mlp") == CONNECTIONS + 1
    assert total(samples, "nv_inference_count", model="mlp") == len(two.one) + 3 * len(two.other) + 1
    assert total(samples, "nv_inference_request_failure", model="mlp", reason="OTHER") == 2
    assert total(samples, "nv_inference_request_failure", model="picky", reason="BACKEND") == 2
    assert total(samples, "yais_inference_request_duration_ms_count", model="mlp") == CONNECTIONS + 1
    for name in ("yais_inference_load_ratio_bucket", "yais_inference_stage_duration_ms_bucket"):
        stage = {"stage": "request"} if "stage" in name else {}
        assert total(samples, name, model="mlp", le="+Inf", **stage) == CONNECTIONS + 1
    assert total(samples, "yais_executor_queue_depth") == 0
    assert total(samples, pending) == 0


def test_quantiles_are_those_of_all_requests_and_no_averages(two: Pair) -> None:
    assert [ask(two.one[0], slow_request(1)) for _ in range(9)] == [OK] * 9
    assert ask(two.other[0], slow_request(400)) == OK
    samples = two.server.samples()
    infer = {
        rank: total(samples, "yais_inference_compute_duration_ms", model="slow", quantile=rank)
        for rank in ("0.5", "0.9", "0.99")
    }
    assert 0 < infer["0.5"] <= infer["0.9"] < 100 < infer["0.99"]


def test_every_scrape_has_each_series_once_and_all_processes_in_it(two: Pair) -> None:
    page = two.server.get("/metrics")[1]
    series = [line.rsplit(" ", 1)[0] for line in page.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    processes = [psutil.Process(two.server.process.pid), *two.workers]
    assert total(two.server.samples(), "process_resident_memory_bytes") == pytest.approx(
        sum(process.memory_info().rss for process in processes), rel=0.1
    )
    started = total(two.server.samples(), "process_start_time_seconds")
    assert started == pytest.approx(processes[0].create_time(), abs=1)


def test_a_drain_answers_what_was_accepted_and_says_so_everywhere(two: Pair) -> None:
    """The worker without work is gone long before; what it did still counts."""
    for stub in (*two.one, *two.other):
        assert ask(stub, mlp_request()) == OK
    running = two.one[0].ModelInfer.future(slow_request(1500))
    two.server.wait_in_flight(1)
    memory = total(two.server.samples(), "process_resident_memory_bytes")
    two.server.signal(signal.SIGTERM)
    eventually(lambda: not is_ready(two.server), "not ready over HTTP")
    eventually(lambda: len(psutil.Process(two.server.process.pid).children()) == 1, "the end of the idle worker")
    assert ask(two.one[0], mlp_request()) == REFUSED
    assert ask(two.other[0], mlp_request()) == REFUSED
    samples = two.server.samples()
    assert not running.done()
    assert total(samples, "nv_inference_request_success", model="mlp") == CONNECTIONS + 1
    assert total(samples, "nv_inference_request_failure", model="mlp", reason="REJECTED") == 2
    assert total(samples, "yais_executor_queue_depth") == 1
    assert total(samples, "process_resident_memory_bytes") < 0.9 * memory
    assert outcome(running) == OK
    assert two.server.exit_code() == DRAINED
    two.wait_end()
    assert "Traceback" not in two.server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_all_processes_is_one_signal(two: Pair, number: signal.Signals) -> None:
    """As Ctrl-C is in a terminal, and the stop of a unit of systemd."""
    running = [stubs[0].ModelInfer.future(slow_request(700)) for stubs in (two.one, two.other)]
    two.server.wait_in_flight(2)
    for process in (*two.workers, two.server.process):
        os.kill(process.pid, number)
    assert outcomes(running) == [OK] * 2
    assert two.server.exit_code() == DRAINED
    two.wait_end()


def test_the_exit_code_is_that_of_the_worker_that_left_most_undone(engines: Engines) -> None:
    with pair(*engines.flags("mlp", "slow"), "--drain-timeout", "300ms") as two:
        running = two.other[0].ModelInfer.future(slow_request(40_000))
        two.server.wait_in_flight(1)
        assert two.server.stop() == UNANSWERED
        assert outcome(running).code in ("UNAVAILABLE", "CANCELLED")
        assert "dropping 1 request(s)" in two.server.log
        two.wait_end()


def test_a_second_signal_ends_everything_at_once(two: Pair) -> None:
    running = [stubs[0].ModelInfer.future(slow_request(40_000)) for stubs in (two.one, two.other)]
    two.server.wait_in_flight(2)
    two.server.signal(signal.SIGTERM)
    eventually(lambda: not is_ready(two.server), "the drain")
    two.server.signal(signal.SIGINT)
    assert two.server.exit_code(timeout=10) == 128 + signal.SIGINT
    assert not any(map(is_running, two.workers))
    assert "SIGINT again: exiting at once" in two.server.log
    assert [each.code for each in outcomes(running)] == ["UNAVAILABLE"] * 2


def test_a_worker_that_is_killed_ends_the_server_which_drains(two: Pair) -> None:
    running = [stubs[0].ModelInfer.future(slow_request(1200)) for stubs in (two.one, two.other)]
    two.server.wait_in_flight(2)
    victim = two.workers[0]
    victim.kill()
    eventually(lambda: not is_ready(two.server), "not ready")
    assert sorted(each.code for each in outcomes(running)) == ["OK", "UNAVAILABLE"]
    assert two.server.exit_code() == LOST_WORKER
    assert f"(process {victim.pid}) was ended by signal 9 (Killed)" in two.server.log
    two.wait_end()


def test_a_signal_while_the_rest_of_a_lost_server_drains_is_the_first(two: Pair) -> None:
    running = [stubs[0].ModelInfer.future(slow_request(1200)) for stubs in (two.one, two.other)]
    two.server.wait_in_flight(2)
    two.workers[1].kill()
    eventually(lambda: not is_ready(two.server), "not ready")
    assert two.server.stop() == LOST_WORKER
    assert sorted(each.code for each in outcomes(running)) == ["OK", "UNAVAILABLE"]


def test_workers_whose_supervisor_is_killed_drain_by_themselves(two: Pair) -> None:
    running = [stubs[0].ModelInfer.future(slow_request(700)) for stubs in (two.one, two.other)]
    two.server.wait_in_flight(2)
    two.server.process.kill()
    eventually(lambda: two.server.log.count("The supervisor has gone") == 2, "that the workers have noticed")
    assert outcomes(running) == [OK] * 2
    two.wait_end()
    assert "Traceback" not in two.server.log


def test_a_drain_is_told_to_those_who_watch(two: Pair) -> None:
    with two.server.channel() as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest())
        assert next(watch).status == HealthCheckResponse.SERVING
        assert two.server.stop() == DRAINED
        assert [each.status for each in watch] == [HealthCheckResponse.NOT_SERVING]


@pytest.mark.parametrize("shares", [False, True], ids=["alone", "shared"])
def test_a_port_that_somebody_has_ends_it_with_3_even_if_that_one_would_share_it(
    engines: Engines, shares: bool
) -> None:
    with socket.create_server((HOST, 0), reuse_port=shares) as holder:
        port = str(holder.getsockname()[1])
        done = run_command(*engines.flags("mlp"), "--host", HOST, "--workers", "2", "--port", port, "--metrics", "0")
    assert done.returncode == FAILED_START
    assert f"--port: cannot listen on {HOST}:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("flag", ["--port", "--metrics"])
@pytest.mark.parametrize("count", ["1", "2"])
def test_another_server_on_the_same_port_is_no_silent_partner(engines: Engines, flag: str, count: str) -> None:
    mlp = engines.flags("mlp")
    with run_server(*mlp, "--workers", "2") as first:
        port = str(first.port if flag == "--port" else first.metrics_port)
        ports = {"--port": "0", "--metrics": "0", flag: port}
        done = run_command(*mlp, "--workers", count, *(word for pair in ports.items() for word in pair))
        assert is_ready(first)
    assert done.returncode == FAILED_START
    assert f"{flag}: cannot listen on 0.0.0.0:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_that_is_missing_ends_it_with_3_and_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    done = run_command("--engine", missing, "--workers", "2", "--port", "0", "--metrics", "0")
    assert done.returncode == FAILED_START
    assert done.stderr.count(f"engine '{missing}': no such file") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_port_of_choice_is_free_again_for_the_next_server(engines: Engines) -> None:
    with run_server(*engines.flags("mlp"), "--workers", "2") as first, first.stub() as stub:
        assert ask(stub, mlp_request()) == OK
        assert first.stop() == DRAINED
    with run_server(*engines.flags("mlp"), "--workers", "2", "--port", str(first.port)) as second:
        assert second.port == first.port
        with second.stub() as stub:
            assert ask(stub, mlp_request()) == OK

import signal
from collections import Counter
from threading import Thread

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from e2e.callers import callers
from e2e.calls import Outcome, ask, mlp_request, outcome, outcomes, slow_request
from e2e.conftest import Engines
from e2e.scrape import growth, total
from e2e.serving import eventually, run_server
from yais.proto import grpc_service_pb2 as pb

OK = Outcome("OK")
REFUSED = Outcome("UNAVAILABLE", "GRPC server is shutting down and has stopped accepting new requests.")
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)


@BOTH
def test_a_drain_under_load_answers_all_that_was_accepted_and_refuses_the_rest(
    engines: Engines, number: signal.Signals
) -> None:
    """A long run keeps the server draining for as long as anybody could still be in doubt."""
    with (
        run_server(*engines.flags("mlp", "slow")) as server,
        callers(server, ("mlp", 4), ("mlp", 4)) as processes,
        server.stub() as stub,
    ):
        before = server.samples()
        eventually(lambda: growth(before, server.samples(), "nv_inference_count") > 500, "some load")
        accepted = [stub.ModelInfer.future(slow_request(ms)) for ms in (1500, 1, 1)]
        eventually(lambda: total(server.samples(), "nv_inference_pending_request_count", model="slow") == 2, "a queue")
        server.signal(number)
        became = sum((process.until_refused() for process in processes), Counter[Outcome]())
        late = ask(stub, slow_request(1))
        after = server.samples()
        assert outcomes(accepted) == [OK] * 3
        assert server.exit_code() == 0
    assert became.keys() == {OK, REFUSED}
    assert became[REFUSED] == 8
    assert late == REFUSED
    assert total(after, "nv_inference_request_success", model="mlp") == became[OK]
    assert total(after, "nv_inference_request_failure", model="mlp", reason="REJECTED") == 8
    assert total(after, "nv_inference_request_failure", model="mlp") == 8


def test_a_drain_under_load_without_anything_that_lasts_is_clean_too(engines: Engines) -> None:
    with run_server(*engines.flags("mlp")) as server, callers(server, *[("mlp", 4)] * 2) as processes:
        eventually(lambda: total(server.samples(), "nv_inference_count") > 500, "some load")
        assert server.stop() == 0
        became = sum((process.until_refused() for process in processes), Counter[Outcome]())
        assert "Traceback" not in server.log
    assert {each.code for each in became} == {"OK", "UNAVAILABLE"}


def test_a_draining_server_says_so_everywhere(engines: Engines) -> None:
    with run_server(*engines.flags("slow")) as server, server.channel() as channel, server.stub() as stub:
        health = HealthStub(channel)
        watched: list[int] = []
        watch = health.Watch(HealthCheckRequest())
        watcher = Thread(target=lambda: watched.extend(each.status for each in watch))
        watcher.start()
        running = stub.ModelInfer.future(slow_request(1500))
        server.wait_in_flight(1)
        assert eventually(lambda: watched, "the first word of Watch") == [SERVING]
        assert health.Check(HealthCheckRequest(service="slow")).status == SERVING
        assert server.get("/v2/health/ready")[0] == 200

        server.signal(signal.SIGTERM)
        eventually(lambda: server.get("/v2/health/ready")[0] == 503, "not ready over HTTP")
        for service in ("", "ready", "slow", "inference.GRPCInferenceService"):
            assert health.Check(HealthCheckRequest(service=service)).status == NOT_SERVING
        assert eventually(lambda: watched[1:], "the second word of Watch") == [NOT_SERVING]
        assert server.get("/v2/health/live")[0] == 200
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        with pytest.raises(grpc.RpcError) as not_ready:
            stub.ServerReady(pb.ServerReadyRequest())
        assert not_ready.value.code() == grpc.StatusCode.UNAVAILABLE
        assert not_ready.value.details() == "Server exiting"
        assert not stub.ModelReady(pb.ModelReadyRequest(name="slow")).ready
        assert ask(stub, slow_request(1)) == REFUSED

        assert outcome(running) == OK
        assert server.exit_code() == 0
        watcher.join(timeout=10)
    assert watched == [SERVING, NOT_SERVING]


@BOTH
def test_an_idle_server_ends_at_once(engines: Engines, number: signal.Signals) -> None:
    with run_server(*engines.flags("mlp")) as server:
        server.signal(number)
        assert server.exit_code(timeout=10) == 0


def test_a_client_that_stays_connected_does_not_hold_up_the_end(engines: Engines) -> None:
    with run_server(*engines.flags("mlp")) as server, server.channel() as channel, server.stub() as stub:
        watch = HealthStub(channel).Watch(HealthCheckRequest())
        assert next(watch).status == SERVING
        assert ask(stub, mlp_request()) == OK
        server.signal(signal.SIGTERM)
        assert server.exit_code(timeout=10) == 0


def test_what_takes_longer_than_the_drain_timeout_is_dropped_with_exit_code_1(engines: Engines) -> None:
    flags = engines.flags("slow", "mlp")
    with run_server(*flags, "--drain-timeout", "300ms") as server, server.stub() as stub:
        long = [stub.ModelInfer.future(slow_request(ms)) for ms in (40_000, 1)]
        server.wait_in_flight(2)
        server.signal(signal.SIGTERM)
        assert server.exit_code(timeout=10) == 1
        assert "dropping 2 request(s)" in server.log
        assert "--drain-timeout of 0.3 s" in server.log
        assert {each.code for each in outcomes(long)} <= {"UNAVAILABLE", "CANCELLED"}


@BOTH
def test_a_second_signal_ends_it_at_once(engines: Engines, number: signal.Signals) -> None:
    with run_server(*engines.flags("slow")) as server, server.stub() as stub:
        running = stub.ModelInfer.future(slow_request(40_000))
        server.wait_in_flight(1)
        server.signal(signal.SIGTERM)
        eventually(lambda: server.get("/v2/health/ready")[0] == 503, "the drain")
        server.signal(number)
        assert server.exit_code(timeout=10) == 128 + number
        assert f"{number.name} again: exiting at once, 1 request(s) unanswered" in server.log
        assert outcome(running).code == "UNAVAILABLE"


def test_a_second_signal_ends_it_even_after_the_drain_timeout(engines: Engines) -> None:
    with run_server(*engines.flags("slow"), "--drain-timeout", "100ms") as server, server.stub() as stub:
        running = stub.ModelInfer.future(slow_request(40_000))
        server.wait_in_flight(1)
        server.signal(signal.SIGTERM)
        eventually(lambda: "dropping 1 request(s)" in server.log, "the end of the drain timeout")
        server.signal(signal.SIGTERM)
        assert server.exit_code(timeout=10) in (1, 128 + signal.SIGTERM)
        assert outcome(running).code in ("UNAVAILABLE", "CANCELLED")

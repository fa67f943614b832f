import random

from e2e.calls import Outcome, ask, mlp_request, outcome, outcomes, slow_request
from e2e.conftest import Engines
from e2e.scrape import growth, total
from e2e.serving import run_server

ROUNDS = 200


def test_a_request_whose_deadline_passes_in_the_queue_is_never_run(engines: Engines) -> None:
    with run_server(*engines.flags("slow")) as server, server.stub() as stub:
        before = server.samples()
        running = stub.ModelInfer.future(slow_request(1500))
        server.wait_in_flight(1)
        late = [stub.ModelInfer.future(slow_request(1), timeout=0.7) for _ in range(5)]
        server.wait_in_flight(6)
        assert {each.code for each in outcomes(late)} == {"DEADLINE_EXCEEDED"}
        assert outcome(running).code == "OK"
        assert ask(stub, slow_request(1)).code == "OK"
        after = server.samples()
    assert growth(before, after, "nv_inference_exec_count") == 2
    assert growth(before, after, "nv_inference_request_success") == 2
    dropped = [growth(before, after, "nv_inference_request_failure", reason=each) for each in ("CANCELED", "REJECTED")]
    assert sum(dropped) == growth(before, after, "nv_inference_request_failure") == 5


def test_a_request_that_is_cancelled_in_the_queue_is_never_run(engines: Engines) -> None:
    with run_server(*engines.flags("slow")) as server, server.stub() as stub:
        running = stub.ModelInfer.future(slow_request(700))
        server.wait_in_flight(1)
        waiting = [stub.ModelInfer.future(slow_request(1)) for _ in range(5)]
        server.wait_in_flight(6)
        for call in waiting[1:]:
            call.cancel()
        server.wait_in_flight(2)
        assert total(server.samples(), "nv_inference_pending_request_count") == 1
        assert [each.code for each in outcomes([running, waiting[0]])] == ["OK", "OK"]
        samples = server.samples()
    assert total(samples, "nv_inference_exec_count") == 2
    assert total(samples, "nv_inference_request_failure", reason="CANCELED") == 4


def test_a_cancelled_run_does_not_count_as_a_success_and_does_not_disturb_the_next(engines: Engines) -> None:
    with run_server(*engines.flags("slow")) as server, server.stub() as stub:
        running = stub.ModelInfer.future(slow_request(500))
        server.wait_in_flight(1)
        running.cancel()
        assert ask(stub, slow_request(1)).code == "OK"
        samples = server.samples()
    assert total(samples, "nv_inference_request_success") == 1
    assert total(samples, "nv_inference_request_failure", reason="CANCELED") == 1


def test_past_the_bound_of_the_queue_a_request_is_refused_at_once(engines: Engines) -> None:
    with run_server(*engines.flags("slow"), "--max-queue-size", "2") as server, server.stub() as stub:
        running = stub.ModelInfer.future(slow_request(700))
        server.wait_in_flight(1)
        waiting = [stub.ModelInfer.future(slow_request(1)) for _ in range(2)]
        server.wait_in_flight(3)
        refused = ask(stub, slow_request(1))
        assert not running.done()
        assert refused.code == "UNAVAILABLE"
        assert refused.text == "Exceeds maximum queue size: 2 requests are waiting (--max-queue-size)"
        assert {each.code for each in outcomes([running, *waiting])} == {"OK"}
        assert ask(stub, slow_request(1)).code == "OK"


def test_callers_that_give_up_about_when_they_are_answered_harm_nobody(engines: Engines) -> None:
    chance = random.Random(7)
    with run_server(*engines.flags("mlp")) as server, server.stub() as hasty_stub, server.stub() as patient_stub:
        hasty: list[Outcome] = []
        patient: list[Outcome] = []
        for _ in range(ROUNDS):
            timeouts = [chance.uniform(0.0001, 0.003) for _ in range(8)]
            giving_up = [hasty_stub.ModelInfer.future(mlp_request(), timeout=timeout) for timeout in timeouts]
            patient += outcomes([patient_stub.ModelInfer.future(mlp_request(), timeout=15) for _ in range(2)])
            hasty += outcomes(giving_up)
        server.wait_in_flight(0)
        samples = server.samples()
        assert "Traceback" not in server.log
    assert patient == [Outcome("OK")] * 2 * ROUNDS
    assert {each.code for each in hasty} == {"OK", "DEADLINE_EXCEEDED"}
    successes = total(samples, "nv_inference_request_success")
    assert (hasty + patient).count(Outcome("OK")) <= successes
    assert successes + total(samples, "nv_inference_request_failure") <= 10 * ROUNDS

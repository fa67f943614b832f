from e2e.callers import callers
from e2e.calls import Outcome, ask, slow_request
from e2e.conftest import Engines
from e2e.scrape import growth, total
from e2e.serving import Serving, eventually, run_server

OK = Outcome("OK")


def wait_for_more(server: Serving, model: str, count: int) -> None:
    before = server.samples()
    name = "nv_inference_request_success"
    eventually(lambda: growth(before, server.samples(), name, model=model) >= count, f"{count} more answers of {model}")


def wait_for_a_queue(server: Serving) -> None:
    """Of two behind a run of the model `slow`."""
    name = "nv_inference_pending_request_count"
    eventually(lambda: total(server.samples(), name, model="slow") == 2, "one slow request running and two waiting")


def test_clients_that_are_killed_in_mid_request_take_nobody_with_them(engines: Engines) -> None:
    flags = engines.flags("mlp", "slow", "slow_batches")
    survivors = [("mlp", 4), ("slow_batches=3", 3)]
    victims = [("mlp", 6), ("slow_batches=3", 5)]
    with run_server(*flags) as server, callers(server, *survivors) as surviving:
        with callers(server, ("slow=1500", 3)):
            wait_for_a_queue(server)
        for _ in range(3):
            with callers(server, *victims):
                wait_for_more(server, "mlp", 100)
                wait_for_more(server, "slow_batches", 20)
        wait_for_more(server, "mlp", 100)
        wait_for_more(server, "slow_batches", 20)
        became = [process.stop() for process in surviving]
        server.wait_in_flight(0)
        samples = server.samples()
        with server.stub() as stub:
            assert ask(stub, slow_request(1)) == OK
        assert "Traceback" not in server.log
    assert [each.keys() for each in became] == [{OK}, {OK}]
    for model, outcomes in zip(("mlp", "slow_batches"), became, strict=True):
        assert total(samples, "nv_inference_request_success", model=model) >= outcomes.total()
    assert total(samples, "nv_inference_request_success", model="slow") == 0
    assert total(samples, "nv_inference_request_failure", model="slow", reason="CANCELED") == 3
    failures = total(samples, "nv_inference_request_failure")
    assert failures == total(samples, "nv_inference_request_failure", reason="CANCELED")
    assert total(samples, "nv_inference_pending_request_count") == 0


def test_a_server_whose_clients_all_died_drains_cleanly(engines: Engines) -> None:
    with run_server(*engines.flags("slow", "mlp")) as server:
        with callers(server, ("slow=600", 3), ("mlp", 4)):
            wait_for_more(server, "mlp", 50)
            wait_for_a_queue(server)
        assert server.stop() == 0
        assert "Traceback" not in server.log

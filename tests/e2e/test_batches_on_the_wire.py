import math

import numpy as np
import onnxruntime
import pytest

from e2e.calls import Array, mlp_request, outcomes, output, picky_request, slow_request
from e2e.conftest import Engines
from e2e.scrape import growth, total
from e2e.serving import TRANSPORT, run_server
from yais.proto import grpc_service_pb2 as pb

REQUESTS = 600


@pytest.fixture(scope="module")
def rows() -> list[Array]:
    """The rows of each request: 1 to 5, all different."""
    chance = np.random.default_rng(7)
    return [chance.standard_normal((number % 5 + 1, 64)).astype(np.float32) for number in range(REQUESTS)]


@pytest.fixture(scope="module")
def answers(engines: Engines, rows: list[Array]) -> list[Array]:
    """What the model makes of them, each request run alone and without a server."""
    session = onnxruntime.InferenceSession(engines.path("mlp"), providers=["CPUExecutionProvider"])
    return [session.run(None, {"INPUT0": array})[0] for array in rows]


@pytest.mark.parametrize(
    "flags",
    [(), ("--contexts", "2"), ("--max-queue-delay", "2ms"), ("--max-batch-size", "7"), ("--max-batch-size", "5")],
    ids=" ".join,
)
def test_each_of_many_requests_gets_exactly_its_own_rows(
    engines: Engines, rows: list[Array], answers: list[Array], flags: tuple[str, ...]
) -> None:
    with run_server(*engines.flags("mlp"), *flags) as server, server.stub() as stub, server.stub() as other:
        calls = [
            (stub, other)[number % 2].ModelInfer.future(mlp_request(array), timeout=60)
            for number, array in enumerate(rows)
        ]
        received = [output(call.result()) for call in calls]
        (statistics,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="mlp")).model_stats
        samples = server.samples()
        largest = stub.ModelConfig(pb.ModelConfigRequest(name="mlp")).config.max_batch_size
    for own, expected in zip(received, answers, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4)
    sent = sum(map(len, rows))
    assert statistics.inference_count == total(samples, "nv_inference_count") == sent
    assert statistics.execution_count == total(samples, "nv_inference_exec_count")
    assert math.ceil(sent / largest) <= statistics.execution_count <= REQUESTS
    # On grpcio's transport they come so far apart that a model as quick as this one is done with each before the next.
    assert statistics.execution_count < REQUESTS or TRANSPORT == "grpcio"
    assert {size.batch_size for size in statistics.batch_stats} <= set(range(1, largest + 1))
    assert sum(size.batch_size * size.compute_infer.count for size in statistics.batch_stats) == sent


def test_what_waits_behind_a_run_becomes_one_batch(engines: Engines) -> None:
    with run_server(*engines.flags("slow_batches")) as server, server.stub() as stub:
        running = stub.ModelInfer.future(slow_request(700, "slow_batches"))
        server.wait_in_flight(1)
        waiting = [stub.ModelInfer.future(slow_request(milliseconds, "slow_batches")) for milliseconds in range(8)]
        server.wait_in_flight(9)
        before = server.samples()
        assert {each.code for each in outcomes([running, *waiting])} == {"OK"}
        done = [output(call.result(), np.int64).tolist() for call in waiting]
        after = server.samples()
    assert done == [[[int(milliseconds * 1100)]] for milliseconds in range(8)]
    assert total(before, "nv_inference_exec_count") == 0
    assert total(after, "nv_inference_exec_count") == 2


def test_a_delay_that_was_asked_for_gathers_a_full_batch(engines: Engines) -> None:
    with run_server(*engines.flags("picky"), "--max-queue-delay", "10s") as server, server.stub() as stub:
        before = server.samples()
        calls = [stub.ModelInfer.future(picky_request(index), timeout=30) for index in range(8)]
        assert [output(call.result(), np.int64).item() for call in calls] == [index**2 for index in range(8)]
        assert growth(before, server.samples(), "nv_inference_exec_count") == 1


def test_a_delay_without_company_ends(engines: Engines) -> None:
    with run_server(*engines.flags("picky"), "--max-queue-delay", "300ms") as server, server.stub() as stub:
        assert output(stub.ModelInfer(picky_request(3), timeout=5), np.int64).item() == 9
        waited = total(server.samples(), "nv_inference_queue_duration_us")
    assert waited >= 250_000

import threading
from collections.abc import Callable

import click
import grpc
import numpy as np
import pytest
from clients.fake_server import FakeServer, Gate, echo
from clients.open_loops import MS

from yais import transport as native_transport
from yais.clients.inputs.workload import WeightedChoice
from yais.clients.protocol import MODEL_INFER, infer_request
from yais.clients.siege.balancer import Endpoint
from yais.clients.siege.requests import Requests
from yais.clients.siege.runner import LoadConfig, send
from yais.clients.siege.schedules.options import ArrivalOptions
from yais.clients.siege.transports import TransportName
from yais.clients.stats.recorder import Recorder, Tally
from yais.clients.stats.report import Failure, summarise
from yais.proto import grpc_service_pb2 as pb

REQUEST = infer_request("identity", {"INPUT0": np.zeros(4, np.float32)}).SerializeToString()
ALWAYS = Requests(MODEL_INFER, ("identity",), [WeightedChoice(1.0, ((0, REQUEST),))], 0)

Loader = Callable[..., LoadConfig]


@pytest.fixture
def load(fake: FakeServer, transport: TransportName) -> Loader:
    """Makes a load of the fake server, on the one transport and then on the other."""

    def make(
        arrivals: ArrivalOptions, timeout: float = 10.0, max_outstanding: int = 950, connections: int = 1
    ) -> LoadConfig:
        return LoadConfig(
            Endpoint(transport, fake.target, MODEL_INFER, connections), ALWAYS, arrivals, timeout, max_outstanding
        )

    return make


async def sent(load: LoadConfig) -> Tally:
    """What the load came to."""
    recorder = Recorder()
    await send(load, recorder, show=lambda snapshot: None)
    return recorder.tally


async def test_a_stalled_server_shows_in_the_latency_of_all_that_was_due_meanwhile(
    fake: FakeServer, load: Loader
) -> None:
    """It answers nobody before so many have come."""
    rate, stalled, count = 200, 60, 80
    is_over = threading.Event()

    def stalling(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        if len(fake.requests) == stalled:
            is_over.set()
        assert is_over.wait(30)
        return echo(request, context)

    fake.answer = stalling
    tally = await sent(load(ArrivalOptions(rate, count=count)))
    assert tally.counts.completed == count
    # A closed loop would have met the stall once. Those due in its first 200 ms waited for at least the last 95 ms.
    assert tally.latency.above(90 * MS) >= rate * 0.2 * 0.8


async def test_a_server_that_does_not_answer_is_sent_no_more_than_the_bound(
    fake: FakeServer, load: Loader, gate: Gate
) -> None:
    report = summarise(await sent(load(ArrivalOptions(200.0, count=40), timeout=0.6, max_outstanding=5)))
    assert (report.counts.sent, report.counts.dropped) == (5, 35)
    assert report.statuses == {"DEADLINE_EXCEEDED": 5}
    assert len(fake.requests) == 5


async def test_the_server_s_text_is_kept_with_its_count(fake: FakeServer, load: Loader) -> None:
    def refuse(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        raise AssertionError

    fake.answer = refuse
    report = summarise(await sent(load(ArrivalOptions(1000.0, count=20))))
    assert report.failures == (Failure("UNAVAILABLE", "Exceeds maximum queue size", 20),)


async def test_connections_are_separate_ones(fake: FakeServer, load: Loader) -> None:
    peers: set[str] = set()

    def remember(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        peers.add(context.peer())
        return echo(request, context)

    fake.answer = remember
    await sent(load(ArrivalOptions(1000.0, count=12), connections=3))
    assert len(peers) == 3


async def test_requests_arrive_as_they_were_made(fake: FakeServer, load: Loader) -> None:
    await sent(load(ArrivalOptions(1000.0, count=3)))
    assert [request.SerializeToString() for request in fake.requests] == [REQUEST] * 3


async def test_a_server_that_never_takes_the_connection_ends_the_siege_before_it_begins(
    unused_tcp_port: int, transport: TransportName
) -> None:
    target = f"localhost:{unused_tcp_port}"
    with pytest.raises(click.ClickException, match=f"^{target}: no connection within 0.2 s$"):
        await sent(LoadConfig(Endpoint(transport, target, MODEL_INFER, 2), ALWAYS, ArrivalOptions(1.0), 0.2, 1))


async def test_a_server_that_sends_its_clients_elsewhere_loses_no_request(transport: TransportName) -> None:
    server = native_transport.server(options=[("grpc.max_connection_age_ms", 200)])
    server.add_raw_method(MODEL_INFER, lambda call, message: call.respond(b""))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    route = Endpoint(transport, f"127.0.0.1:{port}", MODEL_INFER)
    tally = await sent(LoadConfig(route, ALWAYS, ArrivalOptions(500.0, count=500), 10.0, 950))
    await server.stop(None)
    assert tally.counts.completed == 500

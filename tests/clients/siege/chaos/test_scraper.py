import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from yais.clients.siege.chaos.invariants import ScrapeError, Scraper, ServerMetrics

TEXT = """\
# HELP nv_inference_request_success Number
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="mlp",version="1"} 5
nv_inference_request_success{model="mlp",version="2"} 2
nv_inference_request_success{model="other \\"x\\"",version="1"} 100
nv_inference_request_failure{model="mlp",reason="OTHER",version="1"} 3
nv_inference_request_failure{model="mlp",reason="CANCELED",version="1"} 1
nv_inference_pending_request_count{model="mlp",version="1"} 4
nv_inference_pending_request_count{model="other",version="1"} 1
process_open_fds 17.0
process_resident_memory_bytes 1.5e+06
process_start_time_seconds 12.5
"""


@contextmanager
def serving(text: str, status: int = 200) -> Iterator[Scraper]:
    """A scraper of a server that has these metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Logs nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Scraper("127.0.0.1", server.server_port, "mlp")
        server.shutdown()
        thread.join()


async def test_metrics_are_read_for_one_model() -> None:
    with serving(TEXT) as scraper:
        metrics = await scraper.read()
    assert (metrics.success, metrics.failure, metrics.received) == (7, 4, 11)
    assert (metrics.in_flight, metrics.files, metrics.memory, metrics.started) == (5, 17, 1.5e6, 12.5)


async def test_yais_says_itself_what_is_in_flight() -> None:
    with serving(TEXT + "yais_executor_queue_depth 9\n") as scraper:
        assert (await scraper.read()).in_flight == 9


async def test_metrics_that_a_server_does_not_have_are_none() -> None:
    with serving("") as scraper:
        metrics = await scraper.read()
    assert metrics == ServerMetrics()
    assert metrics.received is None


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [("nonsense\n", 200, "ValueError: .*nonsense"), (TEXT, 404, "ValueError: /metrics answers 404")],
    ids=["no metrics", "no page"],
)
async def test_an_answer_without_metrics_is_an_error(text: str, status: int, message: str) -> None:
    with serving(text, status) as scraper, pytest.raises(ScrapeError, match=message):
        await scraper.read()


async def test_metrics_that_are_not_there_cannot_be_read(unused_tcp_port: int) -> None:
    with pytest.raises(ScrapeError, match="ConnectionRefusedError"):
        await Scraper("127.0.0.1", unused_tcp_port, "mlp").read()


async def test_the_system_knows_a_process_whose_metrics_are_not_read() -> None:
    metrics = await Scraper("127.0.0.1", None, "mlp", os.getpid()).read()
    assert metrics.files is not None
    assert metrics.files >= 3
    assert metrics.memory is not None
    assert metrics.memory > 2**20
    assert metrics.success is None


async def test_a_process_that_is_gone_cannot_be_read() -> None:
    with pytest.raises(ScrapeError, match="NoSuchProcess"):
        await Scraper("127.0.0.1", None, "mlp", 2**22 + 1).read()

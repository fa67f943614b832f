import os

import pytest

from yais.clients.siege.chaos.page import Page, Reader, UnreadablePageError, page_of, parse

TEXT = """\
# HELP nv_inference_request_success Number
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="mlp",version="1"} 5
nv_inference_request_success{model="mlp",version="2"} 2
nv_inference_request_success{model="other \\"x\\"",version="1"} 100
nv_inference_request_failure{model="mlp",reason="OTHER",version="1"} 3
nv_inference_request_failure{model="mlp",reason="CANCELED",version="1"} 1
nv_inference_pending_request_count{model="mlp",version="1"} 4
process_open_fds 17.0
process_resident_memory_bytes 1.5e+06
process_start_time_seconds 12.5
"""


def test_a_page_is_read_for_one_model() -> None:
    page = page_of(parse(TEXT), "mlp")
    assert (page.success, page.failure, page.received) == (7, 4, 11)
    assert (page.in_flight, page.files, page.memory, page.started) == (4, 17, 1.5e6, 12.5)


def test_yais_tells_itself_what_is_in_flight() -> None:
    assert page_of(parse(TEXT + "yais_executor_queue_depth 9\n"), "mlp").in_flight == 9


def test_what_a_page_does_not_tell_is_none() -> None:
    page = page_of({}, "mlp")
    assert page == Page()
    assert page.received is None


def test_a_line_that_is_no_series_is_an_error() -> None:
    with pytest.raises(ValueError, match="'nonsense' is no series"):
        parse("nonsense\n")


async def test_a_page_that_is_not_there_cannot_be_read(unused_tcp_port: int) -> None:
    with pytest.raises(UnreadablePageError, match="ConnectionRefusedError"):
        await Reader("127.0.0.1", unused_tcp_port, "mlp").read()


async def test_the_system_tells_of_a_process_whose_page_does_not() -> None:
    page = await Reader("127.0.0.1", None, "mlp", os.getpid()).read()
    assert page.files is not None
    assert page.files >= 3
    assert page.memory is not None
    assert page.memory > 2**20
    assert page.success is None


async def test_a_process_that_is_gone_cannot_be_read() -> None:
    with pytest.raises(UnreadablePageError, match="NoSuchProcess"):
        await Reader("127.0.0.1", None, "mlp", 2**22 + 1).read()

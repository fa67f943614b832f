"""PROTOCOL-HTTP2.md, "Requests": what the server makes of a call's headers."""

import json

import pytest
from h2.errors import ErrorCodes

from conformance.protocol.fields import Fields, request
from conformance.protocol.peer import Answer, Peer
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, frame, message

INTERNAL, UNIMPLEMENTED, DEADLINE_EXCEEDED = 13, 12, 4


async def call(peer: Peer, fields: Fields, body: bytes = message(b"")) -> Answer:
    await peer.send(peer.headers(1, fields), frame(DATA, END_STREAM, 1, body))
    return await peer.answer(1)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
        "application/grpc+whatever",
        "application/grpc;charset=utf-8",
        "application/grpc; charset=utf-8",
        "application/grpc+proto;x=y",
    ],
)
async def test_content_types_of_grpc_are_served(peer: Peer, content_type: str) -> None:
    answer = await call(peer, request(content_type=content_type))
    assert (answer.http_status, answer.status) == ("200", 0)
    assert answer.blocks[0]["content-type"].startswith("application/grpc")


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "text/html", "application/grpc-web", "application/grpcx", "grpc"]
)
async def test_another_content_type_is_an_unsupported_media_type(peer: Peer, content_type: str | None) -> None:
    answer = await call(peer, request(content_type=content_type))
    assert (answer.http_status, answer.is_ended, answer.data) == ("415", True, b"")
    await peer.expect_service(3)


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "post", "X", "POSTPOST"])
async def test_another_method_than_post_is_not_allowed(peer: Peer, method: str) -> None:
    answer = await call(peer, request(_method=method))
    assert (answer.http_status, answer.blocks[0]["allow"], answer.is_ended) == ("405", "POST", True)
    await peer.expect_service(3)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/test.Probe",
        "/test.Probe/",
        "/test.Probe/Unknown",
        "/test.Probe/echo",
        "/test.Probe/Echo/",
        "/test.Probe/Echo?x=y",
        "//test.Probe/Echo",
        "/test.Probe/Ech%6F",
        "/unknown.Service/Echo",
        "/" + "x" * 8000,
        "/\x80\xff",
    ],
)
async def test_an_unknown_method_is_unimplemented(peer: Peer, path: str) -> None:
    answer = await call(peer, request(_path=path))
    assert (answer.http_status, answer.status, len(answer.blocks)) == ("200", UNIMPLEMENTED, 1)
    await peer.expect_service(3)


@pytest.mark.parametrize("path", ["test.Probe/Echo", "*", "http://probe/test.Probe/Echo"])
async def test_a_path_without_a_slash_is_no_request(peer: Peer, path: str) -> None:
    await peer.send(peer.headers(1, request(_path=path)))
    await peer.expect_reset(1, ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("spelling", "seconds"),
    [("1H", 3600), ("1M", 60), ("10S", 10), ("20000m", 20), ("99999999u", 99.999999), ("99999999H", 359999996400)],
)
async def test_a_timeout_is_the_methods_deadline(peer: Peer, spelling: str, seconds: float) -> None:
    answer = await call(peer, request("Describe", grpc_timeout=spelling))
    assert seconds - 1 < json.loads(answer.data[5:])["remaining"] <= seconds


async def test_a_call_without_a_timeout_has_no_deadline(peer: Peer) -> None:
    assert json.loads((await call(peer, request("Describe"))).data[5:])["remaining"] is None


@pytest.mark.parametrize("spelling", ["1n", "999n", "0S", "00000000m", "20m", "50000u"])
async def test_a_timeout_that_runs_out_ends_the_call(peer: Peer, spelling: str) -> None:
    answer = await call(peer, request("Wait", grpc_timeout=spelling))
    assert (answer.status, answer.is_ended) == (DEADLINE_EXCEEDED, True)
    await peer.expect_service(3)


@pytest.mark.parametrize(
    "spelling", ["", "S", "1", "1 S", "1s", "-1S", "+1S", "1.5S", "123456789S", "1SS", "0x1S", "1D", "S1", "1e3m"]
)
async def test_a_timeout_of_another_form_is_refused(peer: Peer, spelling: str) -> None:
    answer = await call(peer, request("Describe", grpc_timeout=spelling))
    assert answer.status == INTERNAL
    assert "grpc-timeout" in answer.details
    await peer.expect_service(3)


async def test_a_deadline_ends_a_call_that_has_not_come_in_whole(peer: Peer) -> None:
    await peer.send(peer.headers(1, request("Copy", grpc_timeout="50m")), frame(DATA, 0, 1, b"\0"))
    answer = await peer.answer(1)
    assert answer.status == DEADLINE_EXCEEDED


async def test_a_deadline_ends_a_raw_call_that_nobody_answers(peer: Peer) -> None:
    answer = await call(peer, request("Hold", grpc_timeout="50m"))
    assert (answer.status, answer.details, answer.is_ended) == (DEADLINE_EXCEEDED, "Deadline Exceeded", True)
    await peer.expect_service(3)


async def test_metadata_reach_the_method_and_the_protocols_own_fields_do_not(peer: Peer) -> None:
    fields = request(
        "Describe", ("x-text", "one"), ("x-data-bin", "AAH/"), ("user-agent", "probe/1"), grpc_timeout="1H"
    )
    told = json.loads((await call(peer, fields)).data[5:])["metadata"]
    assert told == [["x-text", "one"], ["x-data-bin", "0001ff"], ["user-agent", "probe/1"]]


@pytest.mark.parametrize("value", ["AAH/", "AAE=", "AAE", "AA==", "AA", ""])
async def test_binary_metadata_may_be_padded_or_not(peer: Peer, value: str) -> None:
    answer = await call(peer, request("Describe", ("x-bin", value)))
    assert answer.status == 0


@pytest.mark.parametrize("value", ["A", "A=A=", "!!!!", "AA-_"])
async def test_binary_metadata_that_are_not_base64_do_not_reach_the_method(peer: Peer, value: str) -> None:
    answer = await call(peer, request("Describe", ("x-bin", value), ("x-text", "one")))
    assert json.loads(answer.data[5:])["metadata"] == [["x-text", "one"]]


async def test_a_call_of_headers_only_has_no_message(peer: Peer) -> None:
    await peer.send(peer.headers(1, request(), END_HEADERS | END_STREAM))
    assert (await peer.answer(1)).status == UNIMPLEMENTED
    await peer.expect_service(3)

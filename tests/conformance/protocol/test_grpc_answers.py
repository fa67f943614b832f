"""PROTOCOL-HTTP2.md, "Responses", and http-grpc-status-mapping.md: what the channel makes of an answer."""

import pytest
from hyperframe.frame import DataFrame, RstStreamFrame

from conformance.protocol.fields import Fields
from conformance.protocol.hostile import OK, TRAILERS, Hostile, error_of
from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, frame, message

FINAL = END_HEADERS | END_STREAM


def trailers(peer: Peer, fields: Fields) -> bytes:
    return peer.headers(1, fields, FINAL)


@pytest.mark.parametrize(
    ("http_status", "status"),
    [
        ("400", "INTERNAL"),
        ("401", "UNAUTHENTICATED"),
        ("403", "PERMISSION_DENIED"),
        ("404", "UNIMPLEMENTED"),
        ("429", "UNAVAILABLE"),
        ("502", "UNAVAILABLE"),
        ("503", "UNAVAILABLE"),
        ("504", "UNAVAILABLE"),
        ("204", "UNKNOWN"),
        ("302", "UNKNOWN"),
        ("418", "UNKNOWN"),
        ("500", "UNKNOWN"),
        ("999", "UNKNOWN"),
    ],
)
@pytest.mark.parametrize("is_ended", [True, False])
async def test_the_status_of_http_stands_in_for_grpcs(
    hostile: Hostile, http_status: str, status: str, is_ended: bool
) -> None:
    call, peer = await hostile.called()
    page: Fields = [(":status", http_status), ("content-type", "text/html")]
    await peer.send(peer.headers(1, page, FINAL if is_ended else END_HEADERS))
    error = await error_of(call)
    assert error.code().name == status
    assert http_status in error.details()
    await peer.expect_pong()


async def test_grpcs_status_counts_more_than_https(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(trailers(peer, [(":status", "503"), OK[1], ("grpc-status", "5"), ("grpc-message", "gone")]))
    error = await error_of(call)
    assert (error.code().name, error.details()) == ("NOT_FOUND", "gone")


@pytest.mark.parametrize("content_type", [None, "text/html", "application/json", "application/grpc-web"])
async def test_an_answer_of_another_content_type_is_unknown(hostile: Hostile, content_type: str | None) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, [OK[0]] + ([("content-type", content_type)] if content_type else [])))
    await peer.send(frame(DATA, END_STREAM, 1, b"<html>"))
    assert (await error_of(call)).code().name == "UNKNOWN"


@pytest.mark.parametrize("code", range(1, 17))
async def test_trailers_only_answers_have_their_status(hostile: Hostile, code: int) -> None:
    call, peer = await hostile.called()
    await peer.send(trailers(peer, [*OK, ("grpc-status", str(code)), ("grpc-message", "why")]))
    error = await error_of(call)
    assert (error.code().value[0], error.details()) == (code, "why")


@pytest.mark.parametrize("spelling", ["", "17", "99", "-1", "OK", "0x0", "1e0", "00", "18446744073709551616", "5 5"])
async def test_a_status_that_there_is_not_is_unknown(hostile: Hostile, spelling: str) -> None:
    call, peer = await hostile.called()
    await peer.send(trailers(peer, [*OK, ("grpc-status", spelling)]))
    assert (await error_of(call)).code().name == "UNKNOWN"


@pytest.mark.parametrize(
    ("encoded", "details"),
    [
        ("plain", "plain"),
        ("a%20b%0Ac", "a b\nc"),
        ("%E2%98%BA", "☺"),
        ("%f0%9f%98%88", "\U0001f608"),
        ("%", "%"),
        ("%4", "%4"),
        ("%zz%41", "%zzA"),
        ("%FF", "�"),
        ("%00", "\x00"),
        ("%25", "%"),
        ("a  b", "a  b"),
        ("x" * 8000, "x" * 8000),
    ],
)
async def test_a_status_message_is_percent_decoded_and_never_lost(hostile: Hostile, encoded: str, details: str) -> None:
    call, peer = await hostile.called()
    await peer.send(trailers(peer, [*OK, ("grpc-status", "9"), ("grpc-message", encoded)]))
    assert (await error_of(call)).details() == details


async def test_data_that_end_the_stream_leave_the_status_unknown(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await error_of(call)).code().name in ("UNKNOWN", "INTERNAL")


async def test_trailers_without_a_status_leave_it_unknown(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello")), trailers(peer, [("x-other", "1")]))
    assert (await error_of(call)).code().name == "UNKNOWN"


async def test_headers_that_end_the_stream_without_a_status_leave_it_unknown(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(trailers(peer, OK))
    assert (await error_of(call)).code().name == "UNKNOWN"


async def test_a_status_in_headers_that_are_no_trailers_does_not_count(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, [*OK, ("grpc-status", "0")]), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(trailers(peer, [("grpc-status", "5")]))
    assert (await error_of(call)).code().name == "NOT_FOUND"


@pytest.mark.parametrize("body", [b"", message(b"one") * 2], ids=["none", "two"])
async def test_a_unary_answer_has_exactly_one_message(hostile: Hostile, body: bytes) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, body), trailers(peer, TRAILERS))
    assert (await error_of(call)).code().name in ("UNIMPLEMENTED", "INTERNAL")


async def test_a_unary_answer_of_trailers_only_that_says_ok_is_an_error(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(trailers(peer, [*OK, *TRAILERS]))
    assert (await error_of(call)).code().name in ("UNIMPLEMENTED", "INTERNAL")


async def test_a_message_before_a_failure_does_not_matter(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello")), trailers(peer, [("grpc-status", "7")]))
    assert (await error_of(call)).code().name == "PERMISSION_DENIED"


@pytest.mark.parametrize("cut", [b"\0", bytes(4), message(b"", length=1), message(b"hell", length=5)])
async def test_an_answer_that_ends_inside_of_a_message_is_an_error(hostile: Hostile, cut: bytes) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, cut), trailers(peer, TRAILERS))
    assert (await error_of(call)).code().name == "INTERNAL"


@pytest.mark.parametrize("flag", [2, 0xFF])
async def test_a_flag_of_another_value_is_an_error(hostile: Hostile, flag: int) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"hello", flag)))
    assert (await error_of(call)).code().name == "INTERNAL"
    await peer.expect(RstStreamFrame, 1)


@pytest.mark.parametrize("length", [4 * 2**20 + 1, 2**32 - 1])
async def test_a_message_past_the_limit_is_refused_by_its_prefix(hostile: Hostile, length: int) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, OK), frame(DATA, 0, 1, message(b"", length=length)))
    error = await error_of(call)
    assert error.code().name == "RESOURCE_EXHAUSTED"
    assert str(length) in error.details()
    await peer.expect(RstStreamFrame, 1)


async def test_an_answer_before_the_whole_request_is_taken(hostile: Hostile) -> None:
    """The window of the stream lets only the beginning of the request through."""
    call = hostile.channel.unary_unary("/test.Probe/Echo")(bytes(200_000), timeout=5)
    peer = await hostile.connection()
    await peer.expect(DataFrame, 1)
    await peer.send(trailers(peer, [*OK, ("grpc-status", "16")]))
    assert (await error_of(call)).code().name == "UNAUTHENTICATED"
    await peer.expect(RstStreamFrame, 1)


async def test_metadata_of_an_answer_are_told_apart(hostile: Hostile) -> None:
    pour = hostile.channel.unary_stream("/test.Probe/Pour")(b"", timeout=5)
    peer = await hostile.connection()
    await peer.expect(DataFrame, 1)
    await peer.send(peer.headers(1, [*OK, ("x-first", "1")]), frame(DATA, 0, 1, message(b"one") + message(b"two")))
    await peer.send(trailers(peer, [*TRAILERS, ("x-last", "2"), ("x-bin", "AAE")]))
    assert [answer async for answer in pour] == [b"one", b"two"]
    assert list(await pour.initial_metadata()) == [("x-first", "1")]
    assert list(await pour.trailing_metadata()) == [("x-last", "2"), ("x-bin", b"\x00\x01")]


async def test_metadata_that_are_not_base64_are_an_error(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    await peer.send(peer.headers(1, [*OK, ("x-bin", "!!!!")]), frame(DATA, 0, 1, message(b"hello")))
    await peer.send(trailers(peer, TRAILERS))
    assert await call == b"hello"

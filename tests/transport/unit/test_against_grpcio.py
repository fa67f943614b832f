import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from transport.unit.grpcio_ends import grpcio_call, grpcio_server
from transport.unit.raw_peer import Answer, raw_call, raw_server
from yais.transport.address import peer_name
from yais.transport.compression import ACCEPTED, DEFLATE, GZIP, Codec, inflate
from yais.transport.metadata import (
    decode_metadata,
    decode_timeout,
    encode_metadata,
    encode_timeout,
    percent_decode,
    percent_encode,
)
from yais.transport.status import of_http, of_reset

TEXTS = ["plain", "100 %", "%41", "\t\ntabs and lines\r\n", " spaces ", "é", "\u263a", "\U0001f608", "\0", 'a,b;c="d"']
METADATA = (
    ("a", "1"),
    ("b", "x y, z"),
    ("a", "2"),
    ("empty", ""),
    ("c-bin", b"\0\xff"),
    ("c-bin", b""),
    ("d.e_f-", "~"),
)


@pytest.mark.parametrize("text", TEXTS)
async def test_grpcio_reads_our_texts_and_we_read_its(text: str) -> None:
    async def fail(request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.ABORTED, text)

    async with grpcio_server(fail) as port:
        assert percent_decode((await raw_call(port)).value(b"grpc-message")) == text
    trailers = [(b"grpc-status", b"10"), (b"grpc-message", percent_encode(text))]
    async with grpcio_call(Answer(trailers=trailers)) as call:
        assert (await call.code(), await call.details()) == (grpc.StatusCode.ABORTED, text)


async def test_grpcio_reads_our_metadata_and_we_read_its() -> None:
    received = []

    async def echo(request: bytes, context: Any) -> bytes:
        received.extend(context.invocation_metadata())
        context.set_trailing_metadata(METADATA)
        return b""

    async with grpcio_server(echo) as port:
        answer = await raw_call(port, encode_metadata(METADATA))
    assert tuple(received) == METADATA
    assert decode_metadata(answer.blocks[-1]) == grpc.aio.Metadata(*METADATA)


@pytest.mark.parametrize(
    "pair", [("A", "x"), ("", "x"), (":path", "x"), ("a b", "x"), ("k", "é"), ("k", "\t"), ("k-bin", "x")]
)
async def test_metadata_that_we_refuse_is_refused_by_grpcio_too(pair: tuple[str, str]) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_metadata([pair])
    async with raw_server(lambda _: Answer()) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(Exception, match=r"execute_batch|expected bytes"):
            await channel.unary_unary("/a/b")(b"", timeout=30, metadata=[pair])


async def test_grpcio_leaves_out_what_we_leave_out() -> None:
    keys = ["content-type", "te", "content-length", "grpc-timeout", "grpc-accept-encoding", "user-agent"]
    seen = []

    def record(fields: list[tuple[bytes, bytes]]) -> Answer:
        seen.extend(fields)
        return Answer()

    async with raw_server(record) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary("/a/b")(b"", timeout=30, metadata=[(key, "mine") for key in keys])
    assert b"mine" not in dict(seen).values()
    assert encode_metadata([(key, "mine") for key in keys]) == []


@pytest.mark.parametrize("seconds", [0.5, 7, 100, 4000, 1e6, 1e9])
async def test_grpcio_reads_our_timeouts_and_we_read_its(seconds: float) -> None:
    left = []

    async def look(request: bytes, context: Any) -> bytes:
        left.append(context.time_remaining())
        return b""

    def record(fields: list[tuple[bytes, bytes]]) -> Answer:
        left.append(decode_timeout(dict(fields)[b"grpc-timeout"]))
        return Answer()

    async with grpcio_server(look) as port:
        await raw_call(port, [(b"grpc-timeout", encode_timeout(seconds))])
    async with raw_server(record) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary("/a/b")(b"", timeout=min(seconds, 1e6))
    assert left == [pytest.approx(seconds, rel=1e-4, abs=0.4), pytest.approx(min(seconds, 1e6), rel=0.03, abs=0.4)]


# grpcio does not know yet that 431 is INTERNAL.
@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 415, 429, 500, 501, 502, 503, 504])
async def test_http_statuses_mean_to_grpcio_what_they_mean_to_us(status: int) -> None:
    async with grpcio_call(Answer([(b":status", b"%d" % status), (b"content-type", b"text/html")], None)) as call:
        assert await call.code() is of_http(status)


@pytest.mark.parametrize("error_code", [*range(14), 2**32 - 1])
async def test_resets_mean_to_grpcio_what_they_mean_to_us(error_code: int) -> None:
    async with grpcio_call(Answer(reset=error_code)) as call:
        assert await call.code() is of_reset(error_code)


@pytest.mark.parametrize("codec", [GZIP, DEFLATE], ids=["gzip", "deflate"])
async def test_grpcio_reads_our_compressed_messages_and_we_read_its(codec: Codec) -> None:
    message = b"a message worth to be compressed " * 100

    async def echo(request: bytes, context: Any) -> bytes:
        return request

    compressed = codec.compress(message)
    body = b"\1" + len(compressed).to_bytes(4) + compressed
    compression = {GZIP: grpc.Compression.Gzip, DEFLATE: grpc.Compression.Deflate}[codec]
    async with grpcio_server(echo, compression=compression) as port:
        extra = [(b"grpc-encoding", codec.name), (b"grpc-accept-encoding", ACCEPTED)]
        answer = await raw_call(port, extra, body)
    assert answer.data[:1] == b"\1"
    assert inflate(answer.value(b"grpc-encoding"), answer.data[5:], len(message)) == message
    assert answer.value(b"grpc-accept-encoding") == ACCEPTED


@pytest.mark.parametrize("name", ["", "a b[1]:?#%", "\0abstract"], ids=["unnamed", "path", "abstract"])
async def test_a_peer_on_a_unix_socket_is_spelt_as_by_grpcio(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name.startswith("\0"):
        name += str(tmp_path)[-50:]
    peers = []

    async def look(request: bytes, context: Any) -> bytes:
        peers.append(context.peer())
        return b""

    async with grpcio_server(look, "unix:server"):
        with socket.socket(socket.AF_UNIX) as client:
            if name:
                client.bind(name)
            client.connect("server")
            expected = peer_name(client.getsockname())
            await raw_call(client)
    assert peers == [expected]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_a_peer_on_tcp_is_spelt_as_by_grpcio(host: str) -> None:
    peers = []

    async def look(request: bytes, context: Any) -> bytes:
        peers.append(context.peer())
        return b""

    async with grpcio_server(look, "[::]:0") as port:
        with socket.create_connection((host, port)) as client:
            expected = peer_name(client.getsockname())
            await raw_call(client)
    assert peers == [expected]

"""compression.md: what happens to messages that are flagged as compressed."""

import asyncio
import gzip
import json
import zlib

import pytest

from conformance.protocol.fields import request
from conformance.protocol.hostile import OK, TRAILERS, Hostile, error_of
from conformance.protocol.peer import Answer, Peer
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, data, frame, message

UNIMPLEMENTED, INTERNAL, RESOURCE_EXHAUSTED = 12, 13, 8
BODY = b"hello" * 100
# Without the time of day, which gzip notes.
PACKED = {"gzip": gzip.compress(BODY, mtime=0), "deflate": zlib.compress(BODY)}


def bomb(members: int = 1, size: int = 4 * 2**20 + 1) -> bytes:
    return gzip.compress(bytes(size // members + 1), mtime=0) * members


async def call(peer: Peer, encoding: str | None, data: bytes, method: str = "Echo", flag: int = 1) -> Answer:
    extra = [] if encoding is None else [("grpc-encoding", encoding)]
    await peer.send(peer.headers(1, request(method, *extra)), frame(DATA, END_STREAM, 1, message(data, flag)))
    return await peer.answer(1)


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("method", ["Echo", "Copy", "Chat"])
async def test_compressed_messages_are_served(peer: Peer, encoding: str, method: str) -> None:
    answer = await call(peer, encoding, PACKED[encoding], method)
    assert (answer.data, answer.status) == (message(BODY), 0)


@pytest.mark.parametrize("encoding", [*PACKED, "identity", "br"])
async def test_an_unflagged_message_is_taken_as_it_is_whatever_the_encoding(peer: Peer, encoding: str) -> None:
    assert (await call(peer, encoding, b"plain", flag=0)).data == message(b"plain")


async def test_compressed_and_plain_messages_may_take_turns(peer: Peer) -> None:
    body = message(PACKED["gzip"], 1) + message(b"plain") + message(gzip.compress(b""), 1)
    await peer.send(peer.headers(1, request("Count", ("grpc-encoding", "gzip"))), frame(DATA, END_STREAM, 1, body))
    assert json.loads((await peer.answer(1)).data[5:]) == [500, 5, 0]


@pytest.mark.parametrize("encoding", ["br", "snappy", "GZIP", "gzip, deflate", "", "zstd", "x" * 1000])
@pytest.mark.parametrize("method", ["Echo", "Count"])
async def test_an_unknown_encoding_is_unimplemented_and_the_known_are_named(
    peer: Peer, encoding: str, method: str
) -> None:
    answer = await call(peer, encoding, b"\x0b\x02\x80hello\x03", method)
    assert answer.status == UNIMPLEMENTED
    assert answer.blocks[-1]["grpc-accept-encoding"].replace(" ", "") == "identity,deflate,gzip"
    await peer.expect_service(3)


@pytest.mark.parametrize("encoding", [None, "identity"])
@pytest.mark.parametrize("method", ["Echo", "Copy", "Count"])
async def test_a_flagged_message_without_an_encoding_is_refused(peer: Peer, encoding: str | None, method: str) -> None:
    assert (await call(peer, encoding, PACKED["gzip"], method)).status == INTERNAL
    await peer.expect_service(3)


BROKEN = {
    "no gzip at all": ("gzip", b"hello"),
    "nothing as gzip": ("gzip", b""),
    "deflate as gzip": ("gzip", PACKED["deflate"]),
    "gzip cut short": ("gzip", PACKED["gzip"][:-1]),
    "junk behind gzip": ("gzip", PACKED["gzip"] + b"junk"),
    "gzip of a wrong sum": ("gzip", PACKED["gzip"][:-8] + bytes(8)),
    "no deflate at all": ("deflate", b"hello"),
    "nothing as deflate": ("deflate", b""),
    "gzip as deflate": ("deflate", PACKED["gzip"]),
    "deflate cut short": ("deflate", PACKED["deflate"][:-1]),
    "junk behind deflate": ("deflate", PACKED["deflate"] + b"junk"),
    "deflate without its head": ("deflate", zlib.compress(BODY, wbits=-15)),
}


@pytest.mark.parametrize(("encoding", "data"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("method", ["Echo", "Count"])
async def test_broken_compression_is_refused(peer: Peer, encoding: str, data: bytes, method: str) -> None:
    assert (await call(peer, encoding, data, method)).status == INTERNAL
    await peer.expect_service(3)


@pytest.mark.parametrize("members", [1, 2, 500])
@pytest.mark.parametrize("method", ["Echo", "Copy", "Count"])
async def test_a_message_that_is_too_large_once_it_is_unpacked_is_refused(
    peer: Peer, members: int, method: str
) -> None:
    packed = bomb(members)
    await peer.send(peer.headers(1, request(method, ("grpc-encoding", "gzip"))))
    body = message(packed, 1)
    await peer.send(data(1, body, 0))
    answer = await peer.answer(1)
    assert answer.status == RESOURCE_EXHAUSTED
    await peer.expect_service(3)


async def test_a_message_of_countless_members_is_refused(peer: Peer) -> None:
    packed = gzip.compress(b"") * 20_000
    await peer.send(peer.headers(1, request("Echo", ("grpc-encoding", "gzip"))))
    body = message(packed, 1)
    await peer.send(data(1, body, 0))
    assert (await peer.answer(1)).status == INTERNAL
    await peer.expect_service(3)


async def answered(hostile: Hostile, encoding: str | None, data: bytes) -> asyncio.Future[bytes]:
    """A call that is answered by `data`, flagged as compressed."""
    call, peer = await hostile.called()
    extra = [] if encoding is None else [("grpc-encoding", encoding)]
    await peer.send(peer.headers(1, [*OK, *extra]), frame(DATA, 0, 1, message(data, 1)))
    await peer.send(peer.headers(1, TRAILERS, END_HEADERS | END_STREAM))
    return call


@pytest.mark.parametrize("encoding", PACKED)
async def test_compressed_answers_are_unpacked(hostile: Hostile, encoding: str) -> None:
    assert await (await answered(hostile, encoding, PACKED[encoding])) == BODY


@pytest.mark.parametrize(
    ("encoding", "data", "status"),
    [
        ("br", b"\x0b\x02\x80hello\x03", "INTERNAL"),
        (None, PACKED["gzip"], "INTERNAL"),
        ("identity", PACKED["gzip"], "INTERNAL"),
        ("gzip", b"hello", "INTERNAL"),
        ("gzip", bomb(), "RESOURCE_EXHAUSTED"),
    ],
    ids=["unknown", "none", "identity", "broken", "bomb"],
)
async def test_answers_that_cannot_be_unpacked_end_the_call(
    hostile: Hostile, encoding: str | None, data: bytes, status: str
) -> None:
    """compression.md: of a server that sends what the client does not know, INTERNAL."""
    assert (await error_of(await answered(hostile, encoding, data))).code().name == status

import gzip
import sys
import time
import tracemalloc
import zlib

import pytest
from grpc import Compression
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.transport.compression import ACCEPTED, CODECS, DEFLATE, GZIP, IDENTITY, Codec, choose, codec_of, inflate

both = pytest.mark.parametrize("codec", [GZIP, DEFLATE], ids=["gzip", "deflate"])
all_of_them = pytest.mark.parametrize("codec", CODECS.values(), ids=map(bytes.decode, CODECS))
MEBIBYTE = 2**20


@settings(deadline=None)
@given(st.sampled_from([GZIP, DEFLATE]), st.binary(max_size=2000), st.integers(1, 300))
def test_any_message_comes_back(codec: Codec, message: bytes, times: int) -> None:
    message *= times
    compressed = codec.compress(memoryview(message))
    assert codec.decompress(compressed, len(message)) == message
    assert codec.decompress(memoryview(compressed), sys.maxsize) == message
    assert inflate(codec.name, compressed, 2**64) == message
    assert IDENTITY.decompress(IDENTITY.compress(memoryview(message)), len(message)) == message


def test_the_formats_are_those_of_other_implementations() -> None:
    assert gzip.decompress(GZIP.compress(b"hello")) == zlib.decompress(DEFLATE.compress(b"hello")) == b"hello"
    assert GZIP.decompress(gzip.compress(b"hello"), 5) == DEFLATE.decompress(zlib.compress(b"hello"), 5) == b"hello"


@all_of_them
@pytest.mark.parametrize("limit", [0, 1, 99_999])
def test_a_message_past_the_limit_is_refused_by_the_limit(codec: Codec, limit: int) -> None:
    with pytest.raises(OverflowError, match=rf"larger than max \({limit} bytes\)"):
        codec.decompress(codec.compress(bytes(100_000)), limit)


@both
def test_a_bomb_takes_no_more_memory_than_the_limit(codec: Codec) -> None:
    bomb = codec.compress(bytes(64 * MEBIBYTE))
    tracemalloc.start()
    with pytest.raises(OverflowError):
        codec.decompress(bomb, MEBIBYTE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MEBIBYTE


@both
@settings(deadline=None)
@given(st.data())
def test_a_message_cut_short_anywhere_is_refused(codec: Codec, data: st.DataObject) -> None:
    compressed = codec.compress(b"a message" * 20)
    end = data.draw(st.integers(0, len(compressed) - 1))
    with pytest.raises(ValueError, match=f"no valid {codec.name.decode()}: it is cut short"):
        codec.decompress(compressed[:end], 1000)


@both
@pytest.mark.parametrize("tail", [b"\0", b"garbage", b"\x1f\x8b" + bytes(20)], ids=["zero", "text", "broken member"])
def test_a_message_followed_by_garbage_is_refused(codec: Codec, tail: bytes) -> None:
    with pytest.raises(ValueError, match=f"no valid {codec.name.decode()}"):
        codec.decompress(codec.compress(b"hello") + tail, 1000)


@both
@settings(deadline=None)
@given(st.binary(max_size=100))
def test_garbage_is_refused_without_any_other_error(codec: Codec, garbage: bytes) -> None:
    with pytest.raises(ValueError, match="no valid"):
        codec.decompress(garbage, 1000)


def test_a_wrong_checksum_is_refused() -> None:
    compressed = bytearray(GZIP.compress(b"hello"))
    compressed[-8] ^= 1
    with pytest.raises(ValueError, match="incorrect data check"):
        GZIP.decompress(bytes(compressed), 1000)


@pytest.mark.parametrize("size", [3, 70_000], ids=["within a portion", "across portions"])
def test_members_of_gzip_follow_each_other(size: int) -> None:
    first, second = bytes(range(256)) * size, b"x" * size
    together = gzip.compress(first, compresslevel=0) + gzip.compress(b"") + gzip.compress(second)
    assert GZIP.decompress(together, 257 * size) == first + second
    with pytest.raises(OverflowError):
        GZIP.decompress(together, 257 * size - 1)


def test_a_member_takes_no_more_memory_than_the_others_have_left_of_the_limit() -> None:
    limit = 4 * MEBIBYTE
    together = GZIP.compress(bytes(limit)) + GZIP.compress(bytes(4 * limit))
    tracemalloc.start()
    with pytest.raises(OverflowError):
        GZIP.decompress(together, limit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * limit


def test_deflate_has_no_members() -> None:
    with pytest.raises(ValueError, match="more data follow its end"):
        DEFLATE.decompress(DEFLATE.compress(b"a") + DEFLATE.compress(b"b"), 1000)


def test_a_message_of_empty_members_is_refused_before_it_costs_much() -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match="more than 1000 members"):
        GZIP.decompress(gzip.compress(b"") * 200_000, 1000)
    assert time.process_time() - began < 0.25


def test_what_is_accepted_is_identity_and_every_codec() -> None:
    assert ACCEPTED == b"identity, deflate, gzip"
    assert set(ACCEPTED.split(b", ")) == set(CODECS)


@pytest.mark.parametrize(
    ("compression", "expected"),
    [(None, IDENTITY), (Compression.NoCompression, IDENTITY), (Compression.Deflate, DEFLATE), (Compression.Gzip, GZIP)],
)
def test_each_choice_of_grpc_has_its_codec(compression: Compression | None, expected: Codec) -> None:
    assert codec_of(compression) is expected
    assert choose(expected, ACCEPTED) is expected


def test_an_unknown_choice_is_refused_by_the_parameters_name() -> None:
    with pytest.raises(ValueError, match=r"compression must be a grpc\.Compression, not 'gzip'"):
        codec_of("gzip")  # type: ignore[arg-type]


@pytest.mark.parametrize("accepted", [b"gzip", b"identity,gzip", b"identity, deflate, gzip", b" gzip ,x"])
def test_a_codec_is_used_when_the_peer_names_it(accepted: bytes) -> None:
    assert choose(GZIP, accepted) is GZIP


@pytest.mark.parametrize("accepted", [None, b"", b"identity", b"deflate", b"xgzip", b"gzip2", b"GZIP"])
def test_a_codec_is_not_used_when_the_peer_does_not_name_it(accepted: bytes | None) -> None:
    assert choose(GZIP, accepted) is IDENTITY


@pytest.mark.parametrize("encoding", [None, b"identity"])
def test_a_flag_without_an_encoding_is_refused(encoding: bytes | None) -> None:
    with pytest.raises(ValueError, match="names no compression"):
        inflate(encoding, b"hello", 1000)


@pytest.mark.parametrize("encoding", [b"", b"snappy", b"GZIP", b"\xff"])
def test_an_unknown_encoding_is_refused_with_those_that_are_known(encoding: bytes) -> None:
    with pytest.raises(LookupError, match="identity, deflate, gzip"):
        inflate(encoding, b"hello", 1000)

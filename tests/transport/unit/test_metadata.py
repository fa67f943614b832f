from base64 import b64encode

import pytest
from grpc.aio import Metadata
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.transport.metadata import decode_metadata, encode_metadata, percent_decode, percent_encode

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(lambda text: text.strip(" "))
KEYS = st.from_regex(r"x-[0-9a-z_.-]*[0-9a-z_.]", fullmatch=True).filter(lambda key: not key.endswith("-bin"))
PAIRS = st.lists(st.one_of(st.tuples(KEYS, PRINTABLE), st.tuples(KEYS.map("{}-bin".format), st.binary())))
# Names as nghttp2 lets them through, values as HTTP/2 has them at the worst.
NAMES = st.sampled_from([b"a", b"a-bin", b"a!", b"te", b":path", b"user-agent", b"connection"])
FIELDS = st.lists(st.tuples(NAMES, st.binary()))


def values(*fields: tuple[bytes, bytes]) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(decode_metadata(fields))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_a_grpc_message(text: str) -> None:
    assert percent_decode(percent_encode(text)) == text


@settings(deadline=None)
@given(st.text())
def test_a_grpc_message_is_always_a_value_that_http2_allows(text: str) -> None:
    encoded = percent_encode(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert encoded == encoded.strip()


@settings(deadline=None)
@given(st.binary())
def test_any_grpc_message_gives_a_text(data: bytes) -> None:
    percent_decode(data).encode()


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("all is well", b"all is well"),
        ("100%", b"100%25"),
        ("\t\ntest with whitespace\r\n", b"%09%0Atest with whitespace%0D%0A"),
        (" two  spaces ", b"%20two  spaces%20"),
        ("\u263a", b"%E2%98%BA"),
        ("\U0001f608", b"%F0%9F%98%88"),
        ("a lone \udc80", b"a lone ?"),
        ("~\x7f", b"~%7F"),
        ("", b""),
    ],
)
def test_what_is_not_printable_ascii_is_escaped_byte_by_byte(text: str, encoded: bytes) -> None:
    assert percent_encode(text) == encoded


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a%20b", "a b"),
        (b"%e2%98%ba", "\u263a"),
        (b"%25%34%31", "%41"),
        (b"%%41", "%A"),
        (b"% %4 %zz %", "% %4 %zz %"),
        (b"\xe2\x98\xba", "\u263a"),
        (b"%ff|\xff|%e2%98", "\ufffd|\ufffd|\ufffd"),
    ],
)
def test_broken_escapes_stay_and_broken_utf8_is_replaced(data: bytes, text: str) -> None:
    assert percent_decode(data) == text


@settings(deadline=None)
@given(PAIRS)
def test_metadata_comes_back_with_the_order_within_each_key(pairs: list[tuple[str, str | bytes]]) -> None:
    assert decode_metadata(encode_metadata(pairs)) == Metadata(*pairs)
    assert encode_metadata(Metadata(*pairs)) == encode_metadata(tuple(Metadata(*pairs)))


@settings(deadline=None)
@given(FIELDS)
def test_what_was_received_can_be_sent_and_is_the_same_then(fields: list[tuple[bytes, bytes]]) -> None:
    received = decode_metadata(fields)
    again = decode_metadata(encode_metadata(received))
    assert dict(again.items()) == {key: values for key, values in received.items() if key != "user-agent"}


def test_binary_values_are_sent_as_base64_without_padding() -> None:
    assert encode_metadata([("k-bin", b"a"), ("k-bin", b"\xfb\xff"), ("k-bin", b"")]) == [
        (b"k-bin", b"YQ"),
        (b"k-bin", b"+/8"),
        (b"k-bin", b""),
    ]


@given(st.binary())
def test_binary_values_are_taken_with_padding_too(data: bytes) -> None:
    assert values((b"k-bin", b64encode(data))) == (("k-bin", data),)


@pytest.mark.parametrize("joined", [b"YQ,Yg,", b"YQ==,Yg==,", b"YQ, Yg ,"])
def test_joined_binary_values_come_apart(joined: bytes) -> None:
    assert values((b"k-bin", joined)) == (("k-bin", b"a"), ("k-bin", b"b"), ("k-bin", b""))


def test_joined_texts_stay_joined() -> None:
    assert values((b"k", b"a, b")) == (("k", "a, b"),)


@pytest.mark.parametrize("data", [b"Y", b"!!!!", b"-_-_", b"Y Q", b"YQ==YQ", b"YQ,?", "é".encode()])
def test_a_binary_value_that_is_no_base64_is_left_out(data: bytes) -> None:
    assert values((b"k-bin", data), (b"k-bin", b"YQ")) == (("k-bin", b"a"),)


@pytest.mark.parametrize("value", [b"\xc3\xa9", b"\xff", b"a\tb", b"\x7f", b"\x00"])
def test_a_text_that_grpc_cannot_send_is_left_out(value: bytes) -> None:
    assert values((b"k", value), (b"l", b"x")) == (("l", "x"),)


@pytest.mark.parametrize("name", [b":path", b"te", b"grpc-timeout", b"content-type", b"connection", b"a!"])
def test_fields_that_are_no_metadata_are_left_out(name: bytes) -> None:
    assert values((name, b"x"), (b"l", b"x")) == (("l", "x"),)


@pytest.mark.parametrize("key", ["user-agent", "host", "grpc-previous-rpc-attempts", "grpc-status-details-bin"])
def test_other_fields_are_shown(key: str) -> None:
    assert values((key.encode(), b"YQ"))[0][0] == key


@pytest.mark.parametrize("key", ["a", "0", "a-b", "a_b", "a.b", "-", "grpc-retry-pushback-ms", "authorization"])
def test_legal_keys_are_sent(key: str) -> None:
    assert encode_metadata([(key, "x")]) == [(key.encode(), b"x")]


@pytest.mark.parametrize("key", ["content-type", "te", "user-agent", "grpc-timeout", "grpc-internal-encoding-request"])
def test_what_the_transport_writes_itself_is_not_taken_from_metadata(key: str) -> None:
    assert encode_metadata([(key, "x"), ("l", "x")]) == [(b"l", b"x")]


@pytest.mark.parametrize(
    "key", ["", "A", "x-Bin", ":path", "a b", "a/b", "é", "a\n", "a\0", "connection", "proxy-connection"]
)
def test_an_illegal_key_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(ValueError, match="metadata key") as caught:
        encode_metadata([(key, "x")])
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize("value", ["é", "a\tb", "a\nb", "\0", "\x7f", "\udc80", b"\xff"], ids=repr)
def test_a_text_that_is_not_printable_is_refused_with_its_key(value: str | bytes) -> None:
    with pytest.raises(ValueError, match="metadata 'k' must have printable ASCII"):
        encode_metadata([("k", value)])


@pytest.mark.parametrize(("key", "value"), [("k", 1), ("k", None), ("k-bin", "x"), ("k-bin", 1), (b"k", "x"), (5, "x")])
def test_a_wrong_type_is_refused_with_the_key(key: object, value: object) -> None:
    with pytest.raises(TypeError) as caught:
        encode_metadata([(key, value)])  # type: ignore[list-item]
    assert repr(key) in str(caught.value)


def test_ascii_bytes_are_a_text_too_and_outer_spaces_are_not_kept() -> None:
    assert encode_metadata([("k", b"bytes"), ("k", "  a b ")]) == [(b"k", b"bytes"), (b"k", b"a b")]
    assert values((b"k", b"  a b ")) == (("k", "a b"),)

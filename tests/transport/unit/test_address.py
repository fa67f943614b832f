from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.transport.address import Address, TcpAddress, UnixAddress, parse_listen, parse_target, peer_name


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("localhost:65535", TcpAddress("localhost", 65535)),
        ("a_b-c.example.:80", TcpAddress("a_b-c.example.", 80)),
        ("0.0.0.0:80", TcpAddress("0.0.0.0", 80)),
        ("*:80", TcpAddress("::", 80)),
        ("*", TcpAddress("::", 443)),
        ("[::]:80", TcpAddress("::", 80)),
        ("[::1]:080", TcpAddress("::1", 80)),
        ("[FE80:0::1%lo]:80", TcpAddress("fe80::1%lo", 80)),
        ("localhost", TcpAddress("localhost", 443)),
        ("::1", TcpAddress("::1", 443)),
        ("[::1]", TcpAddress("::1", 443)),
        ("dns:localhost:80", TcpAddress("localhost", 80)),
        ("ipv4:127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("unix:relative/path", UnixAddress("relative/path")),
        ("unix:/absolute/path", UnixAddress("/absolute/path")),
        ("unix:///absolute/path", UnixAddress("/absolute/path")),
        ("unix:a%20b", UnixAddress("a b")),
        ("unix:a b:?#%zz", UnixAddress("a b:?#%zz")),
        ("unix:%ff", UnixAddress("\udcff")),
        ("UNIX:path", UnixAddress("path")),
        ("unix-abstract:name", UnixAddress("\0name")),
        ("unix-abstract:a%20b", UnixAddress("\0a b")),
    ],
)
def test_the_forms_of_a_servers_address(address: str, expected: Address) -> None:
    assert parse_listen(address) == expected


@pytest.mark.parametrize(
    ("target", "addresses", "authority", "name"),
    [
        ("localhost:80", [("localhost", 80)], "localhost:80", "localhost"),
        ("LocalHost:80", [("LocalHost", 80)], "LocalHost:80", "LocalHost"),
        ("localhost", [("localhost", 443)], "localhost", "localhost"),
        ("[::1]:80", [("::1", 80)], "[::1]:80", "::1"),
        ("::1", [("::1", 443)], "[::1]", "::1"),
        ("[fe80::1%lo]:80", [("fe80::1%lo", 80)], "[fe80::1]:80", "fe80::1"),
        ("dns:///example.org:80", [("example.org", 80)], "example.org:80", "example.org"),
        ("dns:/example.org", [("example.org", 443)], "example.org", "example.org"),
        ("DNS:example.org:1", [("example.org", 1)], "example.org:1", "example.org"),
        ("dns:///[::1]:80", [("::1", 80)], "[::1]:80", "::1"),
        ("dns:///[fe80::1%25lo]:80", [("fe80::1%lo", 80)], "[fe80::1]:80", "fe80::1"),
        ("ipv4:1.2.3.4:80,5.6.7.8:81", [("1.2.3.4", 80), ("5.6.7.8", 81)], "1.2.3.4:80", "1.2.3.4"),
        ("ipv4:///1.2.3.4", [("1.2.3.4", 443)], "1.2.3.4", "1.2.3.4"),
        ("ipv6:[::1]:80,[::2]", [("::1", 80), ("::2", 443)], "[::1]:80", "::1"),
        ("ipv6:%5B::1%5D:80", [("::1", 80)], "[::1]:80", "::1"),
        ("ipv6:::1", [("::1", 443)], "[::1]", "::1"),
    ],
)
def test_the_forms_of_a_channels_target(
    target: str, addresses: list[tuple[str, int]], authority: str, name: str
) -> None:
    parsed = parse_target(target)
    assert parsed.addresses == tuple(TcpAddress(*address) for address in addresses)
    assert (parsed.authority, parsed.server_name) == (authority, name)


def test_a_server_behind_a_unix_socket_is_called_localhost() -> None:
    parsed = parse_target("unix:///run/server")
    assert parsed.addresses == (UnixAddress("/run/server"),)
    assert (parsed.authority, parsed.server_name) == ("localhost", "localhost")


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("", "not host:port"),
        (":80", "not host:port"),
        ("localhost:", "not host:port"),
        ("localhost:http", "not host:port"),
        ("localhost:-1", "not host:port"),
        ("localhost:65536", "port 65536 is above 65535"),
        ("localhost:٨٠", "not host:port"),
        ("local host:80", "not host:port"),
        ("user@localhost:80", "not host:port"),
        ("http://localhost:80", "has none of the schemes dns, ipv4"),
        ("xds:///service", "has none of the schemes dns, ipv4"),
        ("[localhost]:80", "localhost"),
        ("[::1]80", "not host:port"),
        ("*:http", "not host:port"),
        ("a\0b:80", "not host:port"),
        ("a..b:80", "label"),
        ("a" * 64 + ":80", "label"),
        ("1:2:3", "not host:port"),
        ("dns:", "not host:port"),
        ("dns:///", "not host:port"),
        ("dns://localhost:80", "begins after '///'"),
        ("dns://8.8.8.8/localhost:80", "a name server"),
        ("ipv4:localhost:80", "localhost"),
        ("ipv4:[::1]:80", "::1"),
        ("ipv4:1.2.3.4:80,", "not host:port"),
        ("ipv4:", "not host:port"),
        ("ipv6:127.0.0.1:80", "127.0.0.1"),
        ("unix:", "needs a path"),
        ("unix://", "needs a path"),
        ("unix://relative/path", "begins after '///'"),
        ("unix:a%00b", "without NUL"),
        ("unix-abstract:", "needs a path"),
        ("unix-abstract:a%00b", "without NUL"),
    ],
)
def test_anything_else_is_refused_with_the_target_and_why(target: str, complaint: str) -> None:
    for parse in (parse_target, parse_listen):
        with pytest.raises(ValueError, match="is no address for gRPC") as caught:
            parse(target)
        assert repr(target) in str(caught.value)
        assert complaint in str(caught.value)


def test_a_server_listens_on_one_address_at_a_time() -> None:
    with pytest.raises(ValueError, match=r"'ipv4:127\.0\.0\.1:1,127\.0\.0\.1:2' is more than the one address"):
        parse_listen("ipv4:127.0.0.1:1,127.0.0.1:2")


@settings(deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="unixdspv46:/[]%.,0*-abstrct@"), st.from_regex(r"(dns|unix|ipv[46]):.*")))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    for parse in (parse_target, parse_listen):
        with suppress(ValueError):
            assert parse(text) == parse(text)


@pytest.mark.parametrize(
    ("peername", "expected"),
    [
        (("127.0.0.1", 5555), "ipv4:127.0.0.1:5555"),
        (("::1", 5555, 0, 0), "ipv6:%5B::1%5D:5555"),
        (("::ffff:127.0.0.1", 5555, 0, 0), "ipv4:127.0.0.1:5555"),
        (("fe80::1", 5555, 0, 4), "ipv6:%5Bfe80::1%254%5D:5555"),
        (("fe80::1%eth0", 5555, 0, 4), "ipv6:%5Bfe80::1%254%5D:5555"),
        ("", "unix:"),
        ("/run/a b", "unix:/run/a%20b"),
        ("d/c[x]:?#&=+;@!$'()*,~\"<>\\^`{|}%", "unix:d/c%5Bx%5D:%3F%23&=+;@!$'()*,~%22%3C%3E%5C%5E%60%7B%7C%7D%25"),
        ("d/\udcff", "unix:d/%FF"),
        (b"\0a b\0c", "unix-abstract:a%20b%00c"),
    ],
)
def test_a_peer_is_spelt_as_grpcio_does(peername: object, expected: str) -> None:
    assert peer_name(peername) == expected


@pytest.mark.parametrize("sockname", ["/run/server", b"\0server"])
def test_a_peer_that_is_gone_is_known_by_the_kind_of_socket_at_least(sockname: str | bytes) -> None:
    assert peer_name(None, sockname) == "unix:"
    assert peer_name(None, ("127.0.0.1", 80)) == "unknown"

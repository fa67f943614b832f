import click
import pytest
from click.testing import CliRunner, Result

from yais.clients.channel import HostPort, parse_target, round_robin_options
from yais.clients.options import CommonOptions, common_options
from yais.transport import address as native

LONG_LABEL = "a" * 64

ONE = {
    "localhost:50051": "localhost:50051",
    "models": "models",
    "10.0.0.1:80": "10.0.0.1:80",
    "[::1]:80": "[::1]:80",
    "::1": "::1",
    "unix:/run/server": "unix:/run/server",
    "unix:///run/server": "unix:///run/server",
    "unix-abstract:server": "unix-abstract:server",
}
LISTS = {
    "ipv4:10.0.0.1:80": ("10.0.0.1:80",),
    "ipv4:10.0.0.1:80,10.0.0.2:81": ("10.0.0.1:80", "10.0.0.2:81"),
    "ipv4:///10.0.0.1:80,10.0.0.2": ("10.0.0.1:80", "10.0.0.2:443"),
    "IPv4:10.0.0.1:80,10.0.0.1:80": ("10.0.0.1:80",),
    "ipv6:[::1]:80,[::2]:81": ("[::1]:80", "[::2]:81"),
    "ipv6:%5B::1%5D:80": ("[::1]:80",),
    "ipv6:::1": ("[::1]:443",),
}
NAMES = {
    "dns:///models:80": HostPort("models", 80),
    "dns:models.default.svc:80": HostPort("models.default.svc", 80),
    "dns:/models:80": HostPort("models", 80),
    "DNS:///models": HostPort("models", 443),
    "dns:///[::1]:80": HostPort("::1", 80),
    "dns:///10.0.0.1:80": HostPort("10.0.0.1", 80),
}
WRONG = (
    "",
    ":80",
    "models:",
    "models:65536",
    "models:http",
    "a b:80",
    "a,b:80",
    f"{LONG_LABEL}:80",
    "[::1",
    "[::1]80",
    "dns:///",
    "dns:///a:1,b:2",
    "dns://8.8.8.8/models:80",
    "ipv4:",
    "ipv4:models:80",
    "ipv4:10.0.0.1:80,",
    "ipv4:[::1]:80",
    "ipv6:10.0.0.1:80",
    "ipv6:[::1]:80,[::g]:80",
    "unix:",
    "unix:a%00b",
    "http://models:80",
    "xds:///models",
)


@pytest.mark.parametrize(("text", "address"), ONE.items())
def test_a_host_or_a_socket_is_one_address(text: str, address: str) -> None:
    target = parse_target(text)
    assert (target.addresses, target.name, target.is_spread) == ((address,), None, False)


@pytest.mark.parametrize(("text", "addresses"), LISTS.items())
def test_a_list_is_its_addresses_each_of_them_once(text: str, addresses: tuple[str, ...]) -> None:
    target = parse_target(text)
    assert (target.addresses, target.name, target.is_spread) == (addresses, None, len(addresses) > 1)


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_dns_means_every_address_of_a_name(text: str, name: HostPort) -> None:
    target = parse_target(text)
    assert (target.addresses, target.name, target.is_spread) == ((), name, True)


@pytest.mark.parametrize("text", [*ONE, *LISTS, *NAMES])
def test_the_native_transport_reads_the_same_addresses(text: str) -> None:
    target, theirs = parse_target(text), native.parse_target(text)
    ours = [str(target.name)] if target.name else target.addresses
    spelt = [each for address in ours for each in native.parse_target(address).addresses]
    assert spelt == list(dict.fromkeys(theirs.addresses))


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_target_is_refused_as_the_native_transport_does(text: str) -> None:
    with pytest.raises(ValueError, match="is no target for gRPC: ") as raised:
        parse_target(text)
    assert repr(text) in str(raised.value)
    with pytest.raises(ValueError, match="is no address for gRPC: "):
        native.parse_target(text)


@pytest.mark.parametrize("text", ["models:80", "ipv4:10.0.0.1:80", "[::1]:80"])
def test_the_only_server_is_its_host_and_port(text: str) -> None:
    assert str(parse_target(text).server) == text.removeprefix("ipv4:")


@pytest.mark.parametrize("text", ["dns:///models:80", "ipv4:10.0.0.1:80,10.0.0.2:80", "unix:/run/server"])
def test_several_servers_or_a_socket_are_not_one_server(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is not the host:port of one server"):
        parse_target(text).server  # noqa: B018


@pytest.mark.parametrize(
    ("text", "policy"),
    [("dns:///models:80", ["round_robin"]), ("ipv4:10.0.0.1:80,10.0.0.2:80", ["round_robin"]), ("models:80", [])],
)
def test_only_channels_to_several_addresses_are_told_to_take_turns(text: str, policy: list[str]) -> None:
    assert list(round_robin_options(text).values()) == policy


@click.command()
@common_options
def show(common: CommonOptions) -> None:
    click.echo(common.target)


def shown(*arguments: str) -> Result:
    return CliRunner().invoke(show, arguments)


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ((), "localhost:50051"),
        (("--port", "80"), "localhost:80"),
        (("--host", "models"), "models:50051"),
        (("--host", "::1", "--port", "80"), "[::1]:80"),
        (("--target", "dns:///models:80"), "dns:///models:80"),
    ],
)
def test_the_target_is_given_whole_or_as_host_and_port(arguments: tuple[str, ...], target: str) -> None:
    assert shown(*arguments).output == f"{target}\n"


@pytest.mark.parametrize("other", [("--host", "localhost"), ("--port", "50051")])
def test_a_target_excludes_host_and_port(other: tuple[str, str]) -> None:
    result = shown("--target", "models:80", *other)
    assert result.exit_code == 2
    assert f"--target and {other[0]} exclude each other" in result.stderr


def test_a_wrong_target_is_bad_usage_that_names_the_option() -> None:
    result = shown("--target", "http://models:80")
    assert result.exit_code == 2
    assert "'--target': 'http://models:80' is no target for gRPC" in result.stderr


def test_who_needs_one_server_refuses_a_target_of_several() -> None:
    @click.command()
    @common_options
    def attack(common: CommonOptions) -> None:
        click.echo(f"{common.host} {common.port}")

    assert CliRunner().invoke(attack, ["--target", "models:80"]).output == "models 80\n"
    result = CliRunner().invoke(attack, ["--target", "dns:///models:80"])
    assert result.exit_code == 2
    assert "--target: 'dns:///models:80' is not the host:port of one server" in result.stderr

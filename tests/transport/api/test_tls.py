from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trustme

from transport.api.messages import note, notes, services
from transport.api.reading import read_all, status
from transport.api.serving import ANY_PORT, Bench

NAME = "server.test"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Certificates:
    """An authority's root, and what it has issued: a key and a chain to each name."""

    authority: trustme.CA

    @property
    def root(self) -> bytes:
        return self.authority.cert_pem.bytes()

    def issue(self, *names: str) -> tuple[bytes, bytes]:
        issued = self.authority.issue_cert(*names)
        return issued.private_key_pem.bytes(), b"".join(pem.bytes() for pem in issued.cert_chain_pems)


@pytest.fixture(scope="module")
def ours() -> Certificates:
    return Certificates(trustme.CA())


@pytest.fixture(scope="module")
def theirs() -> Certificates:
    return Certificates(trustme.CA())


@pytest.fixture(scope="module")
def local(ours: Certificates) -> tuple[bytes, bytes]:
    return ours.issue("127.0.0.1", "localhost")


async def serve(bench: Bench, pair: tuple[bytes, bytes], clients: bytes | None = None, **server: Any) -> str:
    """The target of a server that shows `pair`, and demands certificates of `clients` if given."""
    credentials = bench.ends.server.ssl_server_credentials([pair], clients, clients is not None)
    _, target = await bench.start(server.pop("address", ANY_PORT), credentials, **server)
    return target


def connect(bench: Bench, target: str, root: bytes, *pair: bytes, **channel: Any) -> Any:
    credentials = bench.ends.channel.ssl_channel_credentials(root, *pair)
    return services.ProbeStub(bench.connect(target, credentials, **channel))


@pytest.mark.both_loops
async def test_calls_of_all_kinds(bench: Bench, ours: Certificates, local: tuple[bytes, bytes]) -> None:
    stub = connect(bench, await serve(bench, local), ours.root)
    assert await stub.UnaryUnary(note("a", size=1_000_000)) == note("a", size=1_000_000)
    assert await read_all(stub.UnaryStream(note("abc"))) == notes("a", "b", "c")
    assert await stub.StreamUnary(notes("a", "b")) == note("ab")
    assert await read_all(stub.StreamStream(notes("a", "b"))) == notes("a", "b")


async def test_a_server_by_its_name(bench: Bench, ours: Certificates, local: tuple[bytes, bytes]) -> None:
    port = (await serve(bench, local)).rpartition(":")[2]
    assert await connect(bench, f"localhost:{port}", ours.root).UnaryUnary(note("a")) == note("a")


async def test_a_server_of_an_unknown_authority_is_refused(
    bench: Bench, theirs: Certificates, local: tuple[bytes, bytes]
) -> None:
    stub = connect(bench, await serve(bench, local), theirs.root)
    code, details = await status(stub.UnaryUnary(note()))
    assert code is UNAVAILABLE
    assert "certificate" in details.lower()


async def test_a_server_of_another_name_is_refused(bench: Bench, ours: Certificates) -> None:
    stub = connect(bench, await serve(bench, ours.issue(NAME)), ours.root)
    assert await stub.UnaryUnary(note()).code() is UNAVAILABLE


async def test_another_name_may_be_expected(bench: Bench, ours: Certificates) -> None:
    target = await serve(bench, ours.issue(NAME))
    stub = connect(bench, target, ours.root, options=[("grpc.ssl_target_name_override", NAME)])
    assert await stub.UnaryUnary(note("a")) == note("a")


async def test_a_name_that_is_expected_must_be_there(
    bench: Bench, ours: Certificates, local: tuple[bytes, bytes]
) -> None:
    target = await serve(bench, local)
    stub = connect(bench, target, ours.root, options=[("grpc.ssl_target_name_override", NAME)])
    assert await stub.UnaryUnary(note()).code() is UNAVAILABLE


async def test_tls_on_a_unix_socket(
    bench: Bench, ours: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = await serve(bench, ours.issue(NAME), address="unix:server.sock")
    stub = connect(bench, target, ours.root, options=[("grpc.ssl_target_name_override", NAME)])
    assert await stub.UnaryUnary(note("a")) == note("a")


async def test_plain_text_is_not_understood_by_a_server_with_tls(bench: Bench, local: tuple[bytes, bytes]) -> None:
    target = await serve(bench, local)
    call = services.ProbeStub(bench.connect(target)).UnaryUnary(note(), timeout=5)
    assert await call.code() is UNAVAILABLE


async def test_tls_is_not_understood_by_a_server_without(bench: Bench, ours: Certificates) -> None:
    _, target = await bench.start()
    assert await connect(bench, target, ours.root).UnaryUnary(note(), timeout=5).code() is UNAVAILABLE


async def test_a_client_shows_who_it_is(bench: Bench, ours: Certificates, local: tuple[bytes, bytes]) -> None:
    seen = []

    async def look(request: Any, context: Any) -> Any:
        seen.append((context.peer_identity_key(), list(context.peer_identities())))
        seen.append(list(context.auth_context()["transport_security_type"]))
        return request

    target = await serve(bench, local, ours.root, methods={"UnaryUnary": look})
    stub = connect(bench, target, ours.root, *ours.issue("client.test", "second.test"))
    await stub.UnaryUnary(note())
    assert seen == [("x509_subject_alternative_name", [b"client.test", b"second.test"]), [b"ssl"]]


async def test_a_client_that_need_not_show_who_it_is_has_no_identity(
    bench: Bench, ours: Certificates, local: tuple[bytes, bytes]
) -> None:
    seen = []

    async def look(request: Any, context: Any) -> Any:
        seen.append((context.peer_identity_key(), context.peer_identities()))
        return request

    target = await serve(bench, local, methods={"UnaryUnary": look})
    await connect(bench, target, ours.root).UnaryUnary(note())
    assert seen == [(None, None)]


async def test_a_client_without_a_certificate_is_refused(
    bench: Bench, ours: Certificates, local: tuple[bytes, bytes]
) -> None:
    target = await serve(bench, local, ours.root)
    assert await connect(bench, target, ours.root).UnaryUnary(note()).code() is UNAVAILABLE


async def test_a_client_of_an_unknown_authority_is_refused(
    bench: Bench, ours: Certificates, theirs: Certificates, local: tuple[bytes, bytes]
) -> None:
    target = await serve(bench, local, ours.root)
    stub = connect(bench, target, ours.root, *theirs.issue("client.test"))
    assert await stub.UnaryUnary(note()).code() is UNAVAILABLE


async def test_a_refused_client_does_not_disturb_the_others(
    bench: Bench, ours: Certificates, theirs: Certificates, local: tuple[bytes, bytes]
) -> None:
    target = await serve(bench, local, ours.root)
    welcome = connect(bench, target, ours.root, *ours.issue("client.test"))
    assert await welcome.UnaryUnary(note("a")) == note("a")
    refused = connect(bench, target, ours.root, *theirs.issue("client.test"))
    assert await refused.UnaryUnary(note()).code() is UNAVAILABLE
    assert await welcome.UnaryUnary(note("b")) == note("b")


async def test_metadata_and_deadlines_by_tls(bench: Bench, ours: Certificates, local: tuple[bytes, bytes]) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("initial-bin", b"\x00\xff"),))
        context.set_trailing_metadata((("trailing", "a"),))
        assert context.time_remaining() < 30
        return request

    stub = connect(bench, await serve(bench, local, methods={"UnaryUnary": answer}), ours.root)
    call = stub.UnaryUnary(note(), timeout=20)
    assert (await call.initial_metadata())["initial-bin"] == b"\x00\xff"
    assert (await call.trailing_metadata())["trailing"] == "a"


async def test_credentials_must_be_of_the_transport(bench: Bench) -> None:
    with pytest.raises((TypeError, AttributeError)):
        bench.ends.channel.secure_channel("127.0.0.1:1", object())
    server = bench.make_server()
    with pytest.raises((TypeError, AttributeError)):
        server.add_secure_port(ANY_PORT, object())

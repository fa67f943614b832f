import asyncio
import os
import ssl
import tempfile
from contextlib import suppress
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from transport.unit.grpcio_ends import grpcio_server, nothing
from transport.unit.raw_peer import Answer, raw_server
from yais.clients.siege.chaos.h2 import SETTINGS
from yais.transport.credentials import (
    ChannelCredentials,
    ServerCredentials,
    ssl_channel_credentials,
    ssl_server_credentials,
)

NAME = "server.test"
NOT_PEM = b"no PEM"


@dataclass(frozen=True)
class Identity:
    """What trustme made of a certificate, in PEM."""

    key: bytes
    chain: bytes

    @classmethod
    def of(cls, certificate: trustme.LeafCert) -> "Identity":
        chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
        return cls(certificate.private_key_pem.bytes(), chain)

    @property
    def pair(self) -> tuple[bytes, bytes]:
        return self.key, self.chain


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def root(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Identity:
    return Identity.of(authority.issue_cert(NAME, "localhost"))


@pytest.fixture(scope="module")
def client(authority: trustme.CA) -> Identity:
    return Identity.of(authority.issue_cert("client.test"))


def shake_hands(
    server: ServerCredentials, channel: ChannelCredentials, name: str = NAME
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after their handshake. Raises the error of the end that refuses the other."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.context.wrap_bio(up, down, server_side=True),
        channel.context.wrap_bio(down, up, server_hostname=name),
    )
    for _ in range(5):
        for end in reversed(ends):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends


def test_both_ends_agree_on_http2(server: Identity, root: bytes) -> None:
    for end in shake_hands(ssl_server_credentials([server.pair]), ssl_channel_credentials(root)):
        assert end.selected_alpn_protocol() == "h2"
        assert end.version() == "TLSv1.3"


def test_tls_1_2_is_taken_with_ephemeral_keys_and_authenticated_encryption(server: Identity, root: bytes) -> None:
    channel = ssl_channel_credentials(root)
    channel.context.maximum_version = ssl.TLSVersion.TLSv1_2
    end, _ = shake_hands(ssl_server_credentials([server.pair]), channel)
    cipher, version, _ = end.cipher() or ("", "", 0)
    assert version == "TLSv1.2"
    assert cipher.startswith("ECDHE-")
    assert "GCM" in cipher or "CHACHA20" in cipher


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"])
def test_other_ciphers_are_refused(server: Identity, root: bytes, cipher: str) -> None:
    channel = ssl_channel_credentials(root)
    channel.context.maximum_version = ssl.TLSVersion.TLSv1_2
    channel.context.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError, match=r"(?i)no.shared.cipher|handshake.failure"):
        shake_hands(ssl_server_credentials([server.pair]), channel)


def test_a_server_of_another_authority_is_refused(server: Identity) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(ssl_server_credentials([server.pair]), ssl_channel_credentials(trustme.CA().cert_pem.bytes()))


def test_a_server_of_another_name_is_refused(server: Identity, root: bytes) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.test"):
        shake_hands(ssl_server_credentials([server.pair]), ssl_channel_credentials(root), "other.test")


def test_a_channel_without_roots_trusts_those_of_the_system(server: Identity) -> None:
    channel = ssl_channel_credentials()
    assert channel.context.cert_store_stats() == ssl.create_default_context().cert_store_stats()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(ssl_server_credentials([server.pair]), channel)


def test_a_client_shows_its_certificate_where_it_must(server: Identity, client: Identity, root: bytes) -> None:
    strict = ssl_server_credentials([server.pair], root, require_client_auth=True)
    end, _ = shake_hands(strict, ssl_channel_credentials(root, *client.pair))
    assert ("DNS", "client.test") in (end.getpeercert() or {})["subjectAltName"]


def test_a_client_without_a_certificate_is_refused_where_it_must_have_one(server: Identity, root: bytes) -> None:
    strict = ssl_server_credentials([server.pair], root, require_client_auth=True)
    with pytest.raises(ssl.SSLError, match=r"(?i)peer.did.not.return.a.certificate"):
        shake_hands(strict, ssl_channel_credentials(root))


def test_a_client_of_another_authority_is_refused(server: Identity, root: bytes) -> None:
    strict = ssl_server_credentials([server.pair], root, require_client_auth=True)
    stranger = Identity.of(trustme.CA().issue_cert("client.test"))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(strict, ssl_channel_credentials(root, *stranger.pair))


def test_a_client_is_not_asked_for_a_certificate_by_roots_alone(
    server: Identity, client: Identity, root: bytes
) -> None:
    end, _ = shake_hands(ssl_server_credentials([server.pair], root), ssl_channel_credentials(root, *client.pair))
    assert not end.getpeercert()


def test_a_certificate_between_root_and_leaf_is_a_root_too(authority: trustme.CA) -> None:
    between = authority.create_child_ca()
    server = ssl_server_credentials([Identity.of(between.issue_cert(NAME)).pair])
    shake_hands(server, ssl_channel_credentials(between.cert_pem.bytes()))


def test_several_roots_fit_in_one_text(server: Identity, root: bytes) -> None:
    both = trustme.CA().cert_pem.bytes() + root
    shake_hands(ssl_server_credentials([server.pair]), ssl_channel_credentials(both))


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"])
def test_pairs_of_different_keys_serve_different_clients(authority: trustme.CA, root: bytes, cipher: str) -> None:
    kinds = (trustme.KeyType.RSA, trustme.KeyType.ECDSA)
    pairs = [Identity.of(authority.issue_cert(NAME, key_type=kind)).pair for kind in kinds]
    channel = ssl_channel_credentials(root)
    channel.context.maximum_version = ssl.TLSVersion.TLSv1_2
    channel.context.set_ciphers(cipher)
    end, _ = shake_hands(ssl_server_credentials(pairs), channel)
    assert (end.cipher() or ("",))[0] == cipher


def test_a_key_is_only_ever_in_a_private_file_that_is_gone_afterwards(
    server: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    load = ssl.SSLContext.load_cert_chain

    def look_and_load(context: ssl.SSLContext, certfile: str, *args: Any, **kwargs: Any) -> None:
        modes.append(os.stat(certfile).st_mode & 0o777)
        load(context, certfile, *args, **kwargs)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look_and_load)
    ssl_server_credentials([server.pair])
    with pytest.raises(ValueError, match="private_key"):
        ssl_server_credentials([(server.key, NOT_PEM)])
    assert modes == [0o600, 0o600]
    assert not list(tmp_path.iterdir())


def test_ready_made_contexts_are_set_to_http2(authority: trustme.CA) -> None:
    ready, other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert(NAME).configure_cert(ready)
    authority.configure_trust(other)
    ready.minimum_version = other.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    server, channel = ServerCredentials(ready), ChannelCredentials(other)
    assert server.context is ready
    for context in (ready, other):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION
    assert [end.selected_alpn_protocol() for end in shake_hands(server, channel)] == ["h2", "h2"]


def test_a_context_that_wants_tls_1_3_keeps_to_it() -> None:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    assert ChannelCredentials(context).context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_context_for_the_other_end_is_refused() -> None:
    with pytest.raises(ValueError, match="context is of PROTOCOL_TLS_CLIENT"):
        ServerCredentials(ssl.create_default_context())
    with pytest.raises(ValueError, match="context is of PROTOCOL_TLS_SERVER"):
        ChannelCredentials(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))


@pytest.mark.parametrize("credentials", [ServerCredentials, ChannelCredentials])
def test_what_is_no_context_is_refused(credentials: Any) -> None:
    with pytest.raises(TypeError, match=r"context must be an ssl\.SSLContext, not str"):
        credentials("context")


def test_credentials_do_not_change() -> None:
    credentials = ssl_channel_credentials()
    with pytest.raises(FrozenInstanceError):
        credentials.context = ssl.create_default_context()  # type: ignore[misc]


def test_a_server_needs_a_pair_and_roots_to_check_clients_against(server: Identity) -> None:
    with pytest.raises(ValueError, match="private_key_certificate_chain_pairs must have at least one pair"):
        ssl_server_credentials([])
    with pytest.raises(ValueError, match="require_client_auth needs root_certificates"):
        ssl_server_credentials([server.pair], require_client_auth=True)


def test_a_broken_pair_is_refused_by_its_place(server: Identity, client: Identity) -> None:
    for broken in [(NOT_PEM, server.chain), (server.key, NOT_PEM), (client.key, server.chain), (b"", b"")]:
        with pytest.raises(ValueError, match=r"private_key_certificate_chain_pairs\[1\] must be"):
            ssl_server_credentials([server.pair, broken])
        with pytest.raises(ValueError, match="private_key and certificate_chain must be"):
            ssl_channel_credentials(None, *broken)


def test_a_key_with_a_password_is_refused_without_asking_for_it(server: Identity) -> None:
    key: Any = serialization.load_pem_private_key(server.key, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    with pytest.raises(ValueError, match="a key without a password"):
        ssl_server_credentials([(locked, server.chain)])


@pytest.mark.parametrize("roots", [b"", NOT_PEM, b"\xff"])
def test_broken_roots_are_refused_by_their_name(server: Identity, roots: bytes) -> None:
    with pytest.raises(ValueError, match="root_certificates must be certificates in PEM"):
        ssl_channel_credentials(roots)
    with pytest.raises(ValueError, match="root_certificates must be certificates in PEM"):
        ssl_server_credentials([server.pair], roots, require_client_auth=True)


def test_half_a_pair_is_refused(client: Identity) -> None:
    for half in ((client.key, None), (None, client.chain)):
        with pytest.raises(ValueError, match="private_key and certificate_chain must be given together"):
            ssl_channel_credentials(None, *half)


def test_texts_that_are_not_bytes_are_refused_by_their_name(server: Identity) -> None:
    with pytest.raises(TypeError, match="root_certificates must be bytes, in PEM, not str"):
        ssl_channel_credentials("roots")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"private_key_certificate_chain_pairs\[0\] must be bytes"):
        ssl_server_credentials([(server.key.decode(), server.chain)])  # type: ignore[list-item]


async def test_our_channel_and_grpcios_server_agree(server: Identity, client: Identity, root: bytes) -> None:
    theirs = grpc.ssl_server_credentials([server.pair], root, require_client_auth=True)
    ours = ssl_channel_credentials(root, *client.pair)
    async with grpcio_server(nothing, credentials=theirs) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ours.context, server_hostname=NAME)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        assert (await reader.readexactly(9))[3] == SETTINGS
        writer.transport.abort()
        await writer.wait_closed()


async def test_grpcios_channel_and_our_server_agree(server: Identity, client: Identity, root: bytes) -> None:
    ours = ssl_server_credentials([server.pair], root, require_client_auth=True)
    theirs = grpc.ssl_channel_credentials(root, *client.pair)
    answer = Answer(trailers=[(b"grpc-status", b"5")])
    async with (
        raw_server(lambda _: answer, ours.context) as port,
        grpc.aio.secure_channel(f"localhost:{port}", theirs) as channel,
    ):
        assert await channel.unary_unary("/a/b")(b"", timeout=30).code() is grpc.StatusCode.NOT_FOUND

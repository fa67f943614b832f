"""TLS for both ends, with grpcio's signatures, on Python's `ssl`.

Sources: PROTOCOL-HTTP2.md of gRPC, "Security", and RFC 9113, section 9.2: TLS 1.2 or newer, no compression, no
renegotiation, ephemeral keys and authenticated encryption only.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import NamedTemporaryFile

_PROTOCOL = "h2"
# For TLS 1.2: what grpcio takes, and ChaCha20 for machines that have no AES. TLS 1.3 has none that would be forbidden.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class ServerCredentials:
    """Credentials of a secure port: any context for servers, which is set to speak HTTP/2 by TLS 1.2 or newer."""

    context: ssl.SSLContext

    def __post_init__(self) -> None:
        _make_http2(self.context, unfit=ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class ChannelCredentials:
    """Credentials of a secure channel: any context for clients, which is set to speak HTTP/2 by TLS 1.2 or newer."""

    context: ssl.SSLContext

    def __post_init__(self) -> None:
        _make_http2(self.context, unfit=ssl.PROTOCOL_TLS_SERVER)


def ssl_server_credentials(
    private_key_certificate_chain_pairs: Sequence[tuple[bytes, bytes]],
    root_certificates: bytes | None = None,
    require_client_auth: bool = False,
) -> ServerCredentials:
    """Credentials of PEM texts. Of several pairs, OpenSSL takes the one whose kind of key the client prefers.

    As in grpcio, a client is asked for a certificate, and then must have one, only where `require_client_auth` is set.
    Raises TypeError or ValueError, with the parameter in it.
    """
    if not private_key_certificate_chain_pairs:
        raise ValueError("private_key_certificate_chain_pairs must have at least one pair")
    if require_client_auth and root_certificates is None:
        raise ValueError("require_client_auth needs root_certificates to check clients against")
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    for index, (private_key, chain) in enumerate(private_key_certificate_chain_pairs):
        _load_pair(context, f"private_key_certificate_chain_pairs[{index}]", private_key, chain)
    if root_certificates is not None:
        _load_roots(context, root_certificates)
    if require_client_auth:
        context.verify_mode = ssl.CERT_REQUIRED
    return ServerCredentials(context)


def ssl_channel_credentials(
    root_certificates: bytes | None = None,
    private_key: bytes | None = None,
    certificate_chain: bytes | None = None,
) -> ChannelCredentials:
    """Credentials of PEM texts; the system's roots where none are given.

    Raises TypeError or ValueError, with the parameter in it.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if root_certificates is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_roots(context, root_certificates)
    if private_key is not None and certificate_chain is not None:
        _load_pair(context, "private_key and certificate_chain", private_key, certificate_chain)
    elif private_key is not None or certificate_chain is not None:
        raise ValueError("private_key and certificate_chain must be given together")
    return ChannelCredentials(context)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.set_ciphers(_CIPHERS)
    return context


def _make_http2(context: ssl.SSLContext, unfit: int) -> None:
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"context must be an ssl.SSLContext, not {type(context).__name__}")
    if context.protocol == unfit:
        raise ValueError(f"context is of {context.protocol.name}, which is for the other end of a connection")
    # RFC 9113, 9.2.1 and 9.2: no compression, no renegotiation, TLS 1.2 at least.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols([_PROTOCOL])


def _load_roots(context: ssl.SSLContext, root_certificates: bytes) -> None:
    # With the flag, a root may also be a certificate that another has signed, as in grpcio.
    _check_bytes("root_certificates", root_certificates)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=root_certificates.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"root_certificates must be certificates in PEM: {error}") from None


def _load_pair(context: ssl.SSLContext, name: str, private_key: bytes, chain: bytes) -> None:
    # OpenSSL reads these from a file only: one that nobody else may read, and that is deleted at once.
    _check_bytes(name, private_key)
    _check_bytes(name, chain)
    with NamedTemporaryFile(suffix=".pem") as file:
        file.write(private_key + b"\n" + chain)
        file.flush()
        try:
            # The password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(file.name, password="")
        except ssl.SSLError as error:
            raise ValueError(f"{name} must be a key without a password and its certificates, in PEM: {error}") from None


def _check_bytes(name: str, value: object) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, in PEM, not {type(value).__name__}")

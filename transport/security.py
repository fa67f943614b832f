"""Results of a TLS handshake: the application protocol, and the identity of the peer."""

import asyncio
from collections.abc import Iterable, Mapping

_PROTOCOL = "h2"


def check_http2(transport: asyncio.BaseTransport) -> None:
    """Raises ConnectionError when TLS is spoken and its ALPN did not settle on HTTP/2."""
    tls = transport.get_extra_info("ssl_object")
    if tls is not None and tls.selected_alpn_protocol() != _PROTOCOL:
        raise ConnectionError(f"The peer does not speak HTTP/2: ALPN gave {tls.selected_alpn_protocol()!r}")


def auth_context(transport: asyncio.BaseTransport) -> Mapping[str, Iterable[bytes]]:
    """What is known of the peer, under grpcio's names; nothing where TLS is not spoken."""
    if transport.get_extra_info("ssl_object") is None:
        return {}
    # Empty where the client has none; then only the kind of security is known.
    certificate = transport.get_extra_info("peercert") or {}
    subject = [value for names in certificate.get("subject", ()) for key, value in names if key == "commonName"]
    names = [value for _, value in certificate.get("subjectAltName", ())]
    found = {
        "transport_security_type": ["ssl"],
        "x509_common_name": subject,
        "x509_subject_alternative_name": names,
    }
    return {key: [value.encode() for value in values] for key, values in found.items() if values}

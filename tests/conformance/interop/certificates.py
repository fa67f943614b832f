"""An authority, a server's certificate and a client's, made for the tests; and the credentials made of them."""

from pathlib import Path
from typing import Any

import trustme

from conformance.interop.implementations import Implementation

AUTHORITY = "authority.pem"


def write_certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / AUTHORITY)
    for name, identity in (("server", "127.0.0.1"), ("client", "client")):
        certificate = authority.issue_cert(identity)
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")


def server_credentials(made: Implementation, folder: Path, mutual: bool) -> Any:
    """Those that want a certificate of the client too where they are `mutual`."""
    authority = (folder / AUTHORITY).read_bytes() if mutual else None
    return made.ssl_server_credentials([_key_and_chain(folder, "server")], authority, require_client_auth=mutual)


def channel_credentials(made: Implementation, folder: Path, mutual: bool) -> Any:
    key, chain = _key_and_chain(folder, "client") if mutual else (None, None)
    return made.ssl_channel_credentials((folder / AUTHORITY).read_bytes(), key, chain)


def _key_and_chain(folder: Path, name: str) -> tuple[bytes, bytes]:
    return (folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes()

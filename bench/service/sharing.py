"""`inference-grpc` with SO_REUSEPORT: several processes of it share a port, where the second would be told off."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from yais import transport
from yais.server import cli


def main() -> None:
    """The server's own command; its transport alone is told otherwise."""
    exclusive = transport.server

    def shared(*, options: Sequence[tuple[str, Any]]) -> transport.Server:
        return exclusive(options=[*options, ("grpc.so_reuseport", 1)])

    with patch.object(transport, "server", shared):
        cli.main()


if __name__ == "__main__":
    main()

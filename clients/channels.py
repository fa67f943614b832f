"""Channel options: what every channel of ours starts from."""

from collections.abc import Mapping
from typing import Any

UNLIMITED = 2**31 - 1

DEFAULTS: Mapping[str, Any] = {
    "grpc.max_receive_message_length": UNLIMITED,
    "grpc.max_send_message_length": UNLIMITED,
}


def options(overrides: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """The channel arguments: the defaults, with `overrides` over them."""
    return list({**DEFAULTS, **(overrides or {})}.items())

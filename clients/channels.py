"""Channel options: what every channel of ours starts from."""

from collections.abc import Mapping
from typing import Any

from yais.clients.targets import parse_target

UNLIMITED = 2**31 - 1

DEFAULTS: Mapping[str, Any] = {
    "grpc.max_receive_message_length": UNLIMITED,
    "grpc.max_send_message_length": UNLIMITED,
}


def options(overrides: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """The channel arguments: the defaults, with `overrides` over them."""
    return list({**DEFAULTS, **(overrides or {})}.items())


def spreading(target: str) -> dict[str, Any]:
    """What has grpcio's own channel call every address of a target that may have several, in turn.

    Raises ValueError, with the target in it, unless it has one of gRPC's forms.
    """
    return {"grpc.lb_policy_name": "round_robin"} if parse_target(target).is_spread else {}

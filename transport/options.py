"""Options of a server or a channel: limits and intervals, under the names that grpcio gives them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

_NEVER = float("inf")
# The length of a message has four bytes.
_UNLIMITED = 2**32 - 1
# Of a C int, in which C-core keeps options.
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes in bytes, times in seconds; an infinite time switches off what it is for."""

    max_receive_message: int = 4 * 2**20
    max_send_message: int = _UNLIMITED
    max_metadata: int = 16 * 2**10
    max_concurrent_streams: int = 1024
    # HTTP/2's windows for one call and for all calls of a connection.
    stream_window: int = 2**20
    connection_window: int = 16 * 2**20
    # Bytes that one connection may have sent and no call has been asked for, unfinished messages included.
    max_held: int = 256 * 2**20
    # How long a peer may take for its handshake, and for the rest of a message that it has begun.
    handshake_timeout: float = 20.0
    message_timeout: float = 60.0
    # How long the peer may take nothing of an answer.
    stall_timeout: float = 300.0
    keepalive_time: float = _NEVER
    keepalive_timeout: float = 20.0
    keepalive_without_calls: bool = False
    # gRPC's keepalive enforcement: a client that sends PINGs more often, without calls, is sent away.
    min_ping_interval: float = 300.0
    max_connection_idle: float = _NEVER
    max_connection_age: float = _NEVER
    max_connection_age_grace: float = _NEVER
    reuse_port: bool = False
    user_agent: str = ""
    server_name: str = ""
    authority: str = ""

    @classmethod
    def of_options(cls, options: Iterable[tuple[str, Any]] | None) -> "Settings":
        """The settings of a server or a channel with these options; unknown ones are ignored, as in grpcio.

        Raises ValueError, with the option in it, for a value that it cannot have.
        """
        changes: dict[str, Any] = {}
        # Of an option that is given twice, the last counts.
        for name, value in options or ():
            if (known := _OPTIONS.get(name)) is not None:
                field, convert = known
                changes[field] = convert(name, value)
        return replace(cls(), **changes)


def _size(name: str, value: Any) -> int:
    """-1 is no limit."""
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= _LARGEST:
        raise ValueError(f"option {name} must be an int from -1, for no limit, to {_LARGEST}, not {value!r}")
    return _UNLIMITED if value == -1 else value


# RFC 9113, 6.9.2: 65,535 is the window that a peer may use before it has read any SETTINGS.
def _window(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 65_535 <= value <= _LARGEST:
        raise ValueError(f"option {name} must be an int from 65535 to {_LARGEST}, not {value!r}")
    return value


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise ValueError(f"option {name} must be an int from 1 to {_LARGEST}, not {value!r}")
    return value


def _milliseconds(name: str, value: Any) -> float:
    """The largest int, and -1, are grpcio's spellings of never."""
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= _LARGEST:
        raise ValueError(
            f"option {name} must be an int from -1, for never, to {_LARGEST}, in milliseconds, not {value!r}"
        )
    return _NEVER if value in (-1, _LARGEST) else value / 1000


def _flag(name: str, value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError(f"option {name} must be 0 or 1, not {value!r}")
    return bool(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError(f"option {name} must be printable ASCII, not {value!r}")
    return value


_OPTIONS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "grpc.max_receive_message_length": ("max_receive_message", _size),
    "grpc.max_send_message_length": ("max_send_message", _size),
    "grpc.max_metadata_size": ("max_metadata", _count),
    "grpc.max_concurrent_streams": ("max_concurrent_streams", _count),
    "grpc.http2.lookahead_bytes": ("stream_window", _window),
    "grpc.keepalive_time_ms": ("keepalive_time", _milliseconds),
    "grpc.keepalive_timeout_ms": ("keepalive_timeout", _milliseconds),
    "grpc.keepalive_permit_without_calls": ("keepalive_without_calls", _flag),
    "grpc.http2.min_ping_interval_without_data_ms": ("min_ping_interval", _milliseconds),
    "grpc.http2.min_recv_ping_interval_without_data_ms": ("min_ping_interval", _milliseconds),
    "grpc.max_connection_idle_ms": ("max_connection_idle", _milliseconds),
    "grpc.max_connection_age_ms": ("max_connection_age", _milliseconds),
    "grpc.max_connection_age_grace_ms": ("max_connection_age_grace", _milliseconds),
    "grpc.server_handshake_timeout_ms": ("handshake_timeout", _milliseconds),
    "grpc.so_reuseport": ("reuse_port", _flag),
    "grpc.primary_user_agent": ("user_agent", _text),
    "grpc.ssl_target_name_override": ("server_name", _text),
    "grpc.default_authority": ("authority", _text),
    "yais.message_timeout_ms": ("message_timeout", _milliseconds),
    "yais.stall_timeout_ms": ("stall_timeout", _milliseconds),
    "yais.connection_window_bytes": ("connection_window", _window),
    "yais.max_held_bytes": ("max_held", _size),
}

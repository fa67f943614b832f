"""Bounds of settings, the same on the command line, in a file and in Python."""

# Both ends are allowed. Seconds and bytes; the last is the most that gRPC's option for it can be.
BOUNDS: dict[str, tuple[int, int]] = {
    "port": (0, 65535),
    "metrics": (0, 65535),
    "workers": (1, 64),
    "contexts": (1, 1024),
    "buffers": (1, 4096),
    "threads": (1, 1024),
    "workspaces": (1, 1024),
    "run_timeout": (0, 86400),
    "drain_timeout": (0, 86400),
    "max_batch_size": (0, 65536),
    "max_queue_delay": (0, 10),
    "max_queue_size": (1, 1_000_000),
    "max_message_size": (1024, 2**31 - 1),
}


def check_bounds(settings: object) -> None:
    """Raises ValueError for the first attribute that is out of its bounds; one that is None or absent has none."""
    for name, (least, most) in BOUNDS.items():
        value = getattr(settings, name, None)
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name.replace('_', '-')}: {value} is not between {least} and {most}")

"""How many CPU cores this process may use, and how they are shared out among contexts."""

import os
from pathlib import Path

_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota_file: Path = _QUOTA_FILE) -> int:
    """The cores of the affinity mask, or fewer under a container's CPU quota (cgroup v2); at least 1."""
    cores = len(os.sched_getaffinity(0))
    if quota_file.is_file():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def threads_per_context(contexts: int, cores: int) -> int:
    """CPU threads for one run such that `contexts` runs at once fit `cores`; at least 1."""
    return max(1, cores // contexts)

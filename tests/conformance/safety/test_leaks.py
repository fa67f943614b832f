"""A million calls leave nothing behind; `YAIS_LEAK_CALLS` makes it fewer."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from conformance.safety.watch import HERE, MB

# They take 20 to 40 seconds.
CALLS = int(os.environ.get("YAIS_LEAK_CALLS", "1000000"))
OK, CANCELLED, FAILED_PRECONDITION, UNIMPLEMENTED = "0", "1", "9", "12"

# Between the end of the first tenth and that of the last. The interpreter's lists of free objects fill meanwhile, by
# half a block for a thousand calls; a leak in a twentieth of the calls of one kind would be a multiple of these.
OBJECTS = 50
BLOCKS = 500 + CALLS // 1000
BYTES = 2 * MB


@pytest.mark.timeout(600)
async def test_calls_of_all_kinds_leave_nothing_behind() -> None:
    command = [sys.executable, "-m", "conformance.safety.leaks", str(CALLS)]
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE.parents[1], stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    first, *others, statuses = map(json.loads, output.splitlines())
    assert_all_kinds(statuses)
    for name, bound in (("objects", OBJECTS), ("blocks", BLOCKS), ("bytes", BYTES)):
        sizes = [sample[name] for sample in others]
        assert sizes[-1] - first[name] <= bound, f"{name}: {first[name]}, then {sizes}"


def assert_all_kinds(statuses: dict[str, Any]) -> None:
    """Of the raw calls, which are 96 of a hundred."""
    made = sum(statuses.values())
    assert made >= 0.95 * CALLS
    assert set(statuses) == {OK, CANCELLED, FAILED_PRECONDITION, UNIMPLEMENTED}
    assert 0.02 < statuses[CANCELLED] / made < 0.25
    assert all(statuses[code] > 0.05 * made for code in (OK, FAILED_PRECONDITION, UNIMPLEMENTED))

"""The servers of the cases, each a process of its own, and the C++ client, which is one too."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BUILT = ROOT / "build" / "interop"
STOP_S = 10.0


def require(program: str) -> Path:
    """The C++ `program`, if it has been built; otherwise the test is skipped, or fails where peers are required."""
    path = BUILT / program
    if not path.exists():
        absent = f"{path.relative_to(ROOT)} is missing: make test makes it"
        if os.environ.get("YAIS_REQUIRE_PEERS") == "1":
            pytest.fail(absent)
        pytest.skip(absent)
    return path


@contextmanager
def run_server(implementation: str, folder: Path) -> Iterator[dict[str, str]]:
    """A server's addresses, by what is spoken there. The process must end well when it is asked to."""
    command = [sys.executable, "-m", "conformance.interop.server", implementation, folder]
    if implementation == "cpp":
        command = [require("interop_server")]
    process = subprocess.Popen(command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            yield json.loads(process.stdout.readline())
            process.stdin.close()
            assert process.wait(STOP_S) == 0
        finally:
            process.kill()


async def run_cpp_client(case: str, target: str) -> None:
    arguments = f"--case={case}", f"--target={target}"
    client = require("interop_client")
    process = await asyncio.create_subprocess_exec(client, *arguments, stderr=asyncio.subprocess.PIPE)
    try:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()

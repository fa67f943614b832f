"""What the tests hold the server against, made by make_peers.sh."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "build" / "peers"
DRIVERS = Path(__file__).with_name("drivers")

TRITON_PYTHON = PEERS / "tritonclient-2.73" / "bin" / "python"
# One folder a release, by its first two numbers, for PYTHONPATH.
TRITON_CLIENTS = PEERS / "tritonclients"
PERF_ANALYZER = PEERS / "perf_analyzer" / "perf_analyzer"
PROMETHEUS = PEERS / "prometheus" / "prometheus"
PROMTOOL = PEERS / "prometheus" / "promtool"


def require(peer: Path) -> Path:
    """`peer`, if it has been made; otherwise the test is skipped, or fails where peers are required."""
    if not peer.exists():
        absent = f"{peer.relative_to(ROOT)} is missing: make test makes it"
        if os.environ.get("YAIS_REQUIRE_PEERS") == "1":
            pytest.fail(absent)
        pytest.skip(absent)
    return peer

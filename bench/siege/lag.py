"""How late requests are sent at 10,000 a second, beside MLPerf's LoadGen."""

import json
import subprocess
import sys
from functools import partial
from importlib.util import find_spec

import click

from bench.measure import BenchError, Size, Subject, choose_cores
from bench.rounds import metered
from bench.siege.sending import Generator, Row, Sending, compare, siege
from bench.siege.steps import LEAST_ACHIEVED
from bench.transport.peers import require_native, serving

SHORT = Size(rounds=2, requests=10_000)
FULL = Size(rounds=5, requests=600_000)

RATE = 10_000
MOST_LAG = 1.5  # Milliseconds, at p99.

# Its trace takes 800 bytes a request.
_LOADGEN_PART = 0.2


def run(size: Size) -> list[Row]:
    require_native()
    with serving(["native, bytes"], choose_cores()) as servers:
        server = servers["native, bytes"]
        judged = partial(Generator, rate=RATE, least_achieved=LEAST_ACHIEVED, most_lag=MOST_LAG, must_be_valid=True)
        generators = [
            judged("constant", "siege", send=siege(server, RATE)),
            judged("Poisson", "siege", send=siege(server, RATE, "--schedule", "poisson")),
        ]
        if find_spec("mlperf_loadgen"):
            generators.append(Generator("Poisson", "LoadGen", RATE, partial(_loadgen, server), _LOADGEN_PART))
        else:
            click.echo("  without LoadGen: mlcommons-loadgen: not installed (pip install 'yais[bench]')", err=True)
        return compare(generators, size)


def _loadgen(server: Subject, requests: int) -> Sending:
    command = [sys.executable, "-m", "bench.siege.loadgen", str(RATE), str(requests)]
    finished, spent = metered(server, lambda: subprocess.run(command, capture_output=True, text=True))
    if finished.returncode:
        raise BenchError(f"LoadGen has failed:\n{finished.stderr}")
    return Sending(**json.loads(finished.stdout), others=spent.others_share)

"""Sending: how many requests a second one process of siege makes, and how punctually it keeps a schedule."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from bench.measure import BenchError, Benchmark, Size, Spread, Subject, choose_cores, script
from bench.rounds import Bound, Burst, Contestant, ContestRow, ContestSample, compare, cpu_per_call, metered
from bench.transport.client_cost import CLIENTS_SHAPE, CLIENTS_YARDSTICK, h2load
from bench.transport.contract import METHOD, message, require
from bench.transport.peers import available, client, cpp_client, python_client, require_native, serving
from yais.clients.reporters import document
from yais.clients.stats.report import Report
from yais.clients.stats.verdict import judge

# Of what goes to the echo server, there and back.
BYTES = 100

_SIEGE_PATIENCE_S = 1200

RATE_TARGET = 40_000.0  # Requests a second.

_CLIENTS = {"C++ client": cpp_client, "native, raw": lambda: python_client("native", raw=True)}

RATES = (20_000, 30_000, 40_000, 50_000, 60_000, 70_000)
STEPS_TARGET = 40_000
LEAST_ACHIEVED = 0.999

LAG_RATE = 10_000
MOST_LAG = 1.5  # Milliseconds, at p99.

# Its trace takes 800 bytes a request.
_LOADGEN_PART = 0.2


def besiege(port: int, *options: str) -> Report:
    """Sends to the echo server at `port`, from this process's core. Raises `BenchError` when any request failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        finished = subprocess.run(
            command(port, Path(folder), *options, "--report", str(path)),
            capture_output=True,
            text=True,
            timeout=_SIEGE_PATIENCE_S,
        )
        # The exit code also says whether the run was valid, which is a result here and no error.
        if not path.exists():
            raise BenchError(f"siege has ended without a report:\n{finished.stderr}")
        return checked(document.read(path))


def command(port: int, folder: Path, *options: str) -> list[str]:
    """How siege sends the echo's message, a file of which goes to `folder`."""
    body = folder / "message"
    body.write_bytes(message(BYTES).SerializeToString())
    target = ("--host", "127.0.0.1", "--port", str(port), "--method", METHOD, "--message", str(body))
    return [script("siege"), *target, *options]


def checked(report: Report) -> Report:
    """Raises `BenchError` unless all that was sent was answered."""
    if report.counts.failed:
        raise BenchError(f"requests of siege failed: {report.statuses}")
    return report


def run_rate(size: Size) -> list[ContestRow]:
    require("h2load")
    require_native()
    cores = choose_cores()
    with serving(["native, bytes"], cores) as servers, ExitStack() as stack:
        server = servers["native, bytes"]
        contestants = [h2load(server)]
        for name, command in available(_CLIENTS).items():
            load = stack.enter_context(client(command, server, CLIENTS_SHAPE, 100, cores.load))
            contestants.append(Contestant(name, cpu_per_call(load.subject, partial(load, "Do"), server)))
        contestants.append(Contestant("siege", _closed_loop(server, "native"), least_rate=RATE_TARGET))
        # A request costs several times as much there; a small part of the requests takes as long.
        contestants.append(Contestant("siege, grpcio", _closed_loop(server, "grpcio"), part=0.05))
        return compare("100 B, 4 x 64 in flight", contestants, size, CLIENTS_YARDSTICK)


def _closed_loop(server: Subject, transport: str) -> Burst:
    """What siege says of itself, from its first request to its last answer: without its start."""
    in_flight = CLIENTS_SHAPE.connections * CLIENTS_SHAPE.in_flight
    shape = ("--concurrency", str(in_flight), "--connections", str(CLIENTS_SHAPE.connections), "--transport", transport)

    def burst(calls: int) -> ContestSample:
        report, spent = metered(server, lambda: besiege(server.port, *shape, "--count", str(calls)))
        # Of the event loop's thread: the kernel's account of the process would have its start and its report as well.
        busy = sum(report.info.cpu)
        return ContestSample(busy * 1e6 / report.rate_answered, report.rate_answered, busy, spent.others_share)

    return burst


@dataclass(frozen=True, slots=True)
class Sending:
    """One schedule, as it was kept. `achieved` is the rate of the sends, of that of the schedule; lags in milliseconds.

    `busy` is the share of its core that the generator had, `others` that which went to processes that have no part in
    this. `is_valid` is siege's own verdict.
    """

    achieved: float
    lag_p50: float
    lag_p99: float
    lag_max: float
    busy: float
    others: float
    is_valid: bool | None = None


Send = Callable[[int], Sending]
"""Goes through a schedule of so many requests."""


@dataclass(frozen=True, slots=True)
class LoadGenerator:
    """Who sends what; `part` is how many of a round's requests those are.

    `most_lag` bounds the p99 of its lag, in milliseconds; `must_be_valid` asks for siege's own verdict.
    """

    case: str
    name: str
    rate: float
    send: Send
    part: float = 1
    least_achieved: float | None = None
    most_lag: float | None = None
    must_be_valid: bool = False


@dataclass(frozen=True, slots=True)
class SendingRow:
    """What a generator did in all rounds. `valid` is in how many siege called its own run valid, None for others."""

    case: str
    name: str
    rate: float
    requests: int
    achieved: Spread
    lag_p50: Spread
    lag_p99: Spread
    lag_max: Spread
    busy: Spread
    others: Spread
    valid: int | None
    rounds: int
    achieved_bound: Bound | None
    lag_bound: Bound | None
    must_be_valid: bool


def compare_sendings(generators: Sequence[LoadGenerator], size: Size) -> list[SendingRow]:
    """Measures all of them in turn."""
    rounds = [[one.send(_requests(one, size)) for one in generators] for _ in range(size.rounds)]
    return [
        _sending_row(one, _requests(one, size), sendings)
        for one, sendings in zip(generators, zip(*rounds, strict=True), strict=True)
    ]


def open_loop(server: Subject, rate: float, *options: str) -> Send:
    """An open loop of siege, warmed up for half a second, that may have more in flight than is usual."""
    # Connecting and the first calls are in the warm-up, which is not in the report.
    shape = ("--connections", "4", "--max-outstanding", "20000", "--warmup", "0.5", "--rate", f"{rate:g}", *options)

    def send(requests: int) -> Sending:
        # The warm-up is siege's own, hence no round of warm-up as elsewhere.
        report, spent = metered(server, lambda: besiege(server.port, *shape, "--count", str(requests)))
        # The rate of the arrivals as they were drawn, which for a Poisson schedule is not quite the one asked for.
        lag, scheduled = report.lag.ms, report.counts.offered / report.scheduled
        return Sending(
            report.rate_sent / scheduled,
            lag["p50"],
            lag["p99"],
            lag["max"],
            sum(report.info.cpu),
            spent.others_share,
            judge(report).result == "valid",
        )

    return send


def _requests(generator: LoadGenerator, size: Size) -> int:
    return max(1, round(size.requests * generator.part))


def _sending_row(one: LoadGenerator, requests: int, sendings: Sequence[Sending]) -> SendingRow:
    verdicts = [sending.is_valid for sending in sendings if sending.is_valid is not None]
    return SendingRow(
        one.case,
        one.name,
        one.rate,
        requests,
        achieved=Spread.of([sending.achieved for sending in sendings]),
        lag_p50=Spread.of([sending.lag_p50 for sending in sendings]),
        lag_p99=Spread.of([sending.lag_p99 for sending in sendings]),
        lag_max=Spread.of([sending.lag_max for sending in sendings]),
        busy=Spread.of([sending.busy for sending in sendings]),
        others=Spread.of([sending.others for sending in sendings]),
        valid=sum(verdicts) if verdicts else None,
        rounds=len(sendings),
        achieved_bound=None if one.least_achieved is None else Bound("at least", one.least_achieved),
        lag_bound=None if one.most_lag is None else Bound("at most", one.most_lag),
        must_be_valid=one.must_be_valid,
    )


def run_steps(size: Size) -> list[SendingRow]:
    require_native()
    with serving(["native, bytes"], choose_cores()) as servers:
        return compare_sendings([_step(servers["native, bytes"], rate) for rate in RATES], size)


def _step(server: Subject, rate: int) -> LoadGenerator:
    # Higher rates show where one process falls behind, and nothing is asked of them.
    is_judged = rate <= STEPS_TARGET
    return LoadGenerator(
        "constant",
        "siege",
        rate,
        open_loop(server, rate),
        least_achieved=LEAST_ACHIEVED if is_judged else None,
        must_be_valid=is_judged,
    )


def run_lag(size: Size) -> list[SendingRow]:
    require_native()
    with serving(["native, bytes"], choose_cores()) as servers:
        server = servers["native, bytes"]
        judged = partial(
            LoadGenerator, rate=LAG_RATE, least_achieved=LEAST_ACHIEVED, most_lag=MOST_LAG, must_be_valid=True
        )
        generators = [
            judged("constant", "siege", send=open_loop(server, LAG_RATE)),
            judged("Poisson", "siege", send=open_loop(server, LAG_RATE, "--schedule", "poisson")),
        ]
        if find_spec("mlperf_loadgen"):
            generators.append(LoadGenerator("Poisson", "LoadGen", LAG_RATE, partial(_loadgen, server), _LOADGEN_PART))
        else:
            click.echo("  without LoadGen: mlcommons-loadgen: not installed (pip install 'yais[bench]')", err=True)
        return compare_sendings(generators, size)


def _loadgen(server: Subject, requests: int) -> Sending:
    command = [sys.executable, "-m", "bench.siege.loadgen", str(LAG_RATE), str(requests)]
    finished, spent = metered(server, lambda: subprocess.run(command, capture_output=True, text=True))
    if finished.returncode:
        raise BenchError(f"LoadGen has failed:\n{finished.stderr}")
    return Sending(**json.loads(finished.stdout), others=spent.others_share)


BENCHMARKS = {
    "siege-rate": Benchmark(run_rate, short=Size(rounds=2, requests=20_000), full=Size(rounds=7, requests=200_000)),
    "siege-steps": Benchmark(run_steps, short=Size(rounds=1, requests=10_000), full=Size(rounds=5, requests=400_000)),
    "siege-lag": Benchmark(run_lag, short=Size(rounds=2, requests=10_000), full=Size(rounds=5, requests=600_000)),
}

"""Overload: requests at a constant rate, from a tenth to thrice what a server sustains."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bench.measure import (
    BUILD,
    Benchmark,
    Child,
    Cores,
    Size,
    Spread,
    Subject,
    choose_cores,
    engine,
    launched,
    pinned,
    running,
    yais,
)
from bench.rounds import Bound, metered
from bench.service.generator import OpenLoopTally
from bench.service.questions import ModelRequest, Question, infer
from bench.service.servers import ServerName, serving
from bench.transport.contract import require
from bench.transport.peers import LoadShape

FACTORS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0)
# Fewer in flight than may wait, so that nothing is refused.
CLOSED_LOOP = LoadShape(connections=10, in_flight=50)
BURSTS = 5
TRIAL = 2_000
# No step has more, so that a generator that cannot keep up with it need not toil for long.
MOST_OFFERED = 150_000

PEER_NAMES: tuple[ServerName, ...] = ("Triton, Python backend",)
MAX_QUEUE = 1024
# Rows that wait no longer but have no answer yet: of batches that are filled, run or read.
IN_BATCHES = 3 * 64
# Far more than what the server lets wait, so that it is the server that refuses.
MAX_OUTSTANDING = 20_000

DOUBLE = 2.0
LEAST_GOODPUT = 0.95  # Of the best step, at twice the sustainable rate.
MARGIN_MS = 25.0  # For what an accepted request waits besides in the queue and in batches.
MAX_LAG_MS = 5.0

DEEP_WIDTHS = (64, 2048, 2048, 2048, 10)
DEEP_MAX_BATCH = 64


class OverloadCase(NamedTuple):
    """What is asked of the server, and of whom besides."""

    name: str
    model: ModelRequest
    peers: tuple[ServerName, ...] = ()


CASES = (
    OverloadCase("mlp, batch 1", ModelRequest("mlp", (1, 64)), PEER_NAMES),
    OverloadCase("mlp, batch 64", ModelRequest("mlp", (64, 64))),
    OverloadCase("deep perceptron, batch 1", ModelRequest("deep", (1, 64))),
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A figure, and what it should be."""

    name: str
    figure: float
    bound: Bound


class OverloadStep(NamedTuple):
    """What came of a step in one round, and what part of a core other processes had meanwhile."""

    tally: OpenLoopTally
    others: float

    @property
    def counts(self) -> bool:
        """Whether the generator kept to the rate."""
        return self.tally.lag <= MAX_LAG_MS


@dataclass(frozen=True, slots=True)
class OverloadRow:
    """A step, at `factor` times what the server sustains: `rate` requests a second.

    Counts are sums. Latencies are milliseconds from the due times, of what was accepted and of what was refused, and
    `lag_ms` is how late the generator sent, at p99. It was too late in `left_out` rounds; where that is all of them,
    the figures are theirs nevertheless, but the step does not count.
    """

    case: str
    name: str
    factor: float
    rate: float
    offered: int
    sent: int
    accepted: int
    refused: int
    failed: int
    goodput: Spread
    p50_ms: Spread | None
    p99_ms: Spread | None
    refused_p99_ms: Spread | None
    lag_ms: Spread
    others: Spread
    left_out: int
    counts: bool
    judgements: list[Judgement]


@dataclass(frozen=True, slots=True)
class GeneratorProcess:
    """Sends requests to a server at a constant rate."""

    child: Child
    question: Question
    server: Subject

    def __call__(self, rate: float, seconds: float) -> OverloadStep:
        """Raises `BenchError` for a wrong answer."""
        count = min(round(rate * seconds), MOST_OFFERED)
        tally, spent = metered(self.server, lambda: self._send(rate, count), self.child.subject(self.server.port))
        for reply in tally.replies:
            self.question.check(bytes.fromhex(reply))
        return OverloadStep(tally, spent.others_share)

    def _send(self, rate: float, count: int) -> OpenLoopTally:
        self.child.say(f"{rate} {count}")
        return OpenLoopTally(**json.loads(self.child.hear()))


def run_overload(size: Size) -> list[OverloadRow]:
    require("h2load")
    build_deep()
    cores = choose_cores()
    return [row for case in CASES for row in (*_alone(case, cores, size), *_peers(case, cores, size))]


def _alone(case: OverloadCase, cores: Cores, size: Size) -> list[OverloadRow]:
    command = [*yais(engine(case.model.name)), "--max-queue-size", str(MAX_QUEUE)]
    with running("YAIS", command, cores.server) as server, pinned(cores.load):
        sustainable, rows = _measure(server, case, cores, size)
    ahead = MAX_QUEUE + IN_BATCHES // case.model.shape[0]
    peak = max((row.goodput.median for row in rows if row.counts), default=0.0)
    for row in rows:
        if row.counts:
            row.judgements.extend(_judge(row, peak, ahead / sustainable * 1e3))
    return rows


def _peers(case: OverloadCase, cores: Cores, size: Size) -> list[OverloadRow]:
    with serving(case.peers, cores) as servers:
        return [row for server in servers.values() for row in _measure(server, case, cores, size)[1]]


def _measure(server: Subject, case: OverloadCase, cores: Cores, size: Size) -> tuple[float, list[OverloadRow]]:
    """The sustainable rate, and a row for each of `FACTORS`."""
    question, seconds = infer(case.model), size.requests / 1e3
    sustainable = _sustainable(server, question, seconds)
    rates = [factor * sustainable for factor in FACTORS]
    with generator(server, question, cores.load) as send:
        send(rates[0], seconds)  # Not counted.
        rounds = [[send(rate, seconds) for rate in rates] for _ in range(size.rounds)]
    steps = zip(FACTORS, rates, zip(*rounds, strict=True), strict=True)
    return sustainable, [_row(case.name, server.name, factor, rate, step) for factor, rate, step in steps]


def _sustainable(server: Subject, question: Question, seconds: float) -> float:
    """How many requests a second are answered at best while many, but fewer than may wait, always are under way."""
    load = question.load(server.port, CLOSED_LOOP)
    count, best = TRIAL, 0.0
    for _ in range(BURSTS):
        _, spent = metered(server, partial(load, count))
        # Not the median: the steps are multiples of what the server can do when nothing disturbs it.
        best = max(best, count / spent.seconds)
        count = max(TRIAL, round(best * seconds))
    return best


@contextmanager
def generator(server: Subject, question: Question, core: int | None) -> Iterator[GeneratorProcess]:
    """An open loop towards `server`, on `core`, or wherever there is room."""
    path = BUILD / "overload-request"
    path.write_bytes(question.message)
    shape = ["--connections", str(CLOSED_LOOP.connections), "--max-outstanding", str(MAX_OUTSTANDING)]
    command = [sys.executable, "-m", "bench.service.generator", *shape, str(server.port), str(path)]
    with launched("the generator", command, core) as child:
        child.hear()
        yield GeneratorProcess(child, question, server)


def _row(case: str, name: str, factor: float, rate: float, rounds: Sequence[OverloadStep]) -> OverloadRow:
    counting = [step for step in rounds if step.counts]
    tallies = [step.tally for step in counting or rounds]
    return OverloadRow(
        case,
        name,
        factor,
        rate,
        offered=sum(one.offered for one in tallies),
        sent=sum(one.offered - one.dropped for one in tallies),
        accepted=sum(one.accepted for one in tallies),
        refused=sum(one.refused for one in tallies),
        failed=sum(sum(one.failed.values()) for one in tallies),
        goodput=Spread.of([one.goodput for one in tallies]),
        p50_ms=spread([one.p50 for one in tallies]),
        p99_ms=spread([one.p99 for one in tallies]),
        refused_p99_ms=spread([one.refused_p99 for one in tallies]),
        lag_ms=Spread.of([one.lag for one in tallies]),
        others=Spread.of([step.others for step in counting or rounds]),
        left_out=len(rounds) - len(counting),
        counts=bool(counting),
        judgements=[],
    )


def spread(figures: Sequence[float | None]) -> Spread | None:
    """Of the rounds that have one."""
    known = [figure for figure in figures if figure is not None]
    return Spread.of(known) if known else None


def _judge(row: OverloadRow, peak: float, queue_ms: float) -> Iterator[Judgement]:
    """What is accepted should wait no longer than a full queue and the batches ahead of it take, and a margin."""
    if row.p99_ms:
        yield Judgement("p99, ms:", row.p99_ms.median, Bound("at most", round(queue_ms + MARGIN_MS)))
    if row.factor == DOUBLE:
        yield Judgement("of the best answers/s:", row.goodput.median / peak, Bound("at least", LEAST_GOODPUT))


def build_deep() -> None:
    """A perceptron with 8.5 million weights: the engine `deep`, where it is not built yet."""
    path = BUILD / "deep.onnx"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_deep_model())


def _deep_model() -> bytes:
    from yais.engines.zoo.graph import GraphWriter, tensor  # Needs the package onnx, which nothing else here does.

    rng, graph = np.random.default_rng(0), GraphWriter("deep")
    weights = [rng.standard_normal((to, of)) * (2 / of) ** 0.5 for of, to in pairwise(DEEP_WIDTHS)]
    x = "INPUT0"
    for matrix in weights[:-1]:
        x = graph.relu(graph.dense(x, matrix, np.zeros(len(matrix))))
    graph.dense(x, weights[-1], np.zeros(DEEP_WIDTHS[-1]), output="OUTPUT0")
    source, result = tensor("INPUT0", ["batch", DEEP_WIDTHS[0]]), tensor("OUTPUT0", ["batch", DEEP_WIDTHS[-1]])
    return graph.model(source, result, DEEP_MAX_BATCH).SerializeToString()


BENCHMARKS = {
    # Requests are milliseconds of a step here.
    "service-overload": Benchmark(
        run_overload, short=Size(rounds=2, requests=1_000), full=Size(rounds=5, requests=2_500)
    ),
}

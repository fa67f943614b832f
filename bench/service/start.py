"""How long a server takes from its start to its first right answer, and the memory that it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import NamedTuple

from bench.measure import Cores, Size, Spread, choose_cores, engine, free_port, launched, pinned, yais
from bench.rounds import Bound
from bench.service.mlserver import mlserver
from bench.service.questions import Model, infer, is_ready, wait_until_answered
from bench.service.servers import triton
from bench.transport.loads import H2load, Shape
from bench.transport.peers import available
from bench.transport.programs import require

# A round is one start. The requests are made once, after the last.
SHORT = Size(rounds=3, requests=1_000)
FULL = Size(rounds=11, requests=10_000)

SHAPE = Shape(connections=4, in_flight=8)

IDENTITY = Model("identity", (16,))
DEMO = Model("efficientnet-lite0", (1, 3, 224, 224), "input")


@dataclass(frozen=True, slots=True)
class Row:
    """`figure` is in seconds, memory in megabytes (of 1,000,000 bytes), `memory_after` after so many `calls`."""

    case: str
    name: str
    figure: Spread
    bound: Bound | None
    memory: Spread
    calls: int
    memory_after: float
    memory_bound: Bound | None


class Start(NamedTuple):
    """A server that serves one model on a port, and what it should need."""

    case: str
    name: str
    command: Callable[[int], list[str]]
    model: Model = IDENTITY
    bound: Bound | None = None
    memory_bound: Bound | None = None


class Sample(NamedTuple):
    """One start; the memory after the requests is None where none were made."""

    seconds: float
    memory: float
    memory_after: float | None


def _yais(model: Model, port: int) -> list[str]:
    return yais(engine(model.name), port=port)


STARTS = (
    Start("the demo's engine", "YAIS", partial(_yais, DEMO), DEMO, Bound("at most", 1.5), Bound("at most", 200)),
    Start("identity", "YAIS", partial(_yais, IDENTITY)),
    Start("identity", "Triton, C++ backend", partial(triton, backend="bare", models=("identity",))),
    Start("identity", "Triton, Python backend", partial(triton, backend="python", models=("identity",))),
    Start("identity", "MLServer", mlserver),
)


def run(size: Size) -> list[Row]:
    require("h2load")
    cores = choose_cores()
    # Who cannot run is told of once, before anything is measured.
    able = available({f"{start.name}, {start.case}": partial(start.command, 0) for start in STARTS})
    starts = [start for start in STARTS if f"{start.name}, {start.case}" in able]
    with pinned(cores.load):
        rounds = [
            [_sample(start, cores, size.requests if left == 0 else 0) for start in starts]
            for left in reversed(range(size.rounds))
        ]
    return [_row(start, size, samples) for start, samples in zip(starts, zip(*rounds, strict=True), strict=True)]


def _sample(start: Start, cores: Cores, requests: int) -> Sample:
    port = free_port()
    command, question = start.command(port), infer(start.model)
    started = perf_counter()
    with launched(start.name, command, cores.server, heard=False) as child:
        wait_until_answered(child, port, [is_ready(), question])
        seconds, server = perf_counter() - started, child.subject(port)
        memory, after = server.rss() / 1e6, None
        if requests:
            load = H2load(port, question.message, SHAPE, question.method, reply=len(question.ask(port)))
            load(requests)
            question.verify(port)
            after = server.rss() / 1e6
    return Sample(seconds, memory, after)


def _row(start: Start, size: Size, samples: tuple[Sample, ...]) -> Row:
    after = samples[-1].memory_after
    assert after is not None
    return Row(
        start.case,
        start.name,
        figure=Spread.of([sample.seconds for sample in samples]),
        bound=start.bound,
        memory=Spread.of([sample.memory for sample in samples]),
        calls=size.requests,
        memory_after=after,
        memory_bound=start.memory_bound,
    )

"""Cost of a request to the whole service: CPU beside its peers, latency, and what it adds to a run of an engine."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

from bench.closed_loop import METHOD, check, closed_loop, connected, message
from bench.measure import (
    Benchmark,
    Child,
    Cores,
    Size,
    Subject,
    choose_cores,
    engine,
    launched,
    pinned,
    running,
    usage,
    yais,
)
from bench.ort import run_once
from bench.rounds import Bound, Burst, Contestant, ContestRow, ContestSample, compare, cpu_per_call, metered
from bench.service.questions import ModelRequest, Question
from bench.service.servers import SERVERS, YARDSTICK, ServerName, serving
from bench.transport.contract import require
from bench.transport.peers import LoadShape, caller, require_native
from bench.transport.server_cost import SERIAL, median_latency

COST_SHAPE = LoadShape(connections=4, in_flight=8)

LATENCY_NAMES: tuple[ServerName, ...] = (
    "C++",
    "YAIS",
    "YAIS, grpcio",
    "grpc.aio",
    "Triton, C++ backend",
    "Triton, Python backend",
    "MLServer",
)
LATENCY_MODEL = ModelRequest("identity", (16,))
LATENCY_BOUNDS: dict[ServerName, Bound] = {"YAIS": Bound("at most", 1.3)}

# Their parts of a round's images: a run of ResNet-50 takes several times as long.
CLASSIFIERS = {"resnet50": 1.0, "efficientnet-lite0": 4.0}
BATCHES = (1, 8)
IN_FLIGHT = (1, 2)
PICTURE = (3, 224, 224)
BARE = "bare ONNX Runtime"
ENGINE_BOUND = Bound("at most", 1.01)


@dataclass(frozen=True, slots=True)
class CostCase:
    """What is asked and how, its part of a round's requests, and the most that YAIS may take of what C++ does."""

    name: str
    model: ModelRequest
    shape: LoadShape = COST_SHAPE
    part: float = 1
    bound: float = 1.0
    absent: tuple[ServerName, ...] = ("C++, keeping memory",)  # It differs from C++ with large messages alone.


CASES = (
    CostCase("identity, 16 floats", ModelRequest("identity", (16,))),
    CostCase("identity, 1,024 floats", ModelRequest("identity", (1_024,))),
    CostCase("mlp, batch 1, 4 x 8 in flight", ModelRequest("mlp", (1, 64))),
    CostCase("mlp, batch 1, 8 x 8 in flight", ModelRequest("mlp", (1, 64)), LoadShape(connections=8, in_flight=8)),
    # 602 kB each way, where keeping freed memory makes a difference.
    CostCase("identity, 150,528 floats", ModelRequest("identity", (150_528,)), part=1 / 20, bound=0.8, absent=()),
)


def run_cost(size: Size) -> list[ContestRow]:
    require("h2load")
    with serving(tuple(SERVERS), choose_cores()) as servers:
        return [row for case in CASES for row in _cost_rows(case, servers, size)]


def _cost_rows(case: CostCase, servers: dict[ServerName, Subject], size: Size) -> list[ContestRow]:
    # MLServer serves identity alone.
    taking_part = [name for name in servers if case.model.name in SERVERS[name].models and name not in case.absent]
    bounds: dict[ServerName, Bound] = {"YAIS": Bound("at most", case.bound)}
    contestants = [
        contestant(name, servers[name], case.model, case.shape, part=case.part, bound=bounds.get(name))
        for name in taking_part
    ]
    return compare(case.name, contestants, size, YARDSTICK)


def contestant(
    name: ServerName,
    server: Subject,
    model: ModelRequest,
    shape: LoadShape,
    part: float = 1,
    bound: Bound | None = None,
) -> Contestant:
    """A server under h2load, whose answer is checked before and after."""
    peer = SERVERS[name]
    question = peer.question(model)
    load = question.load(server.port, shape)
    burst = cpu_per_call(server, load)
    return Contestant(name, burst, peer.part * part, bound, check=lambda: question.verify(server.port))


def run_latency(size: Size) -> list[ContestRow]:
    cores = choose_cores()
    with serving(LATENCY_NAMES, cores) as servers, ExitStack() as stack:
        contestants = [
            stack.enter_context(_latency_contestant(name, server, cores)) for name, server in servers.items()
        ]
        return compare("identity, 16 floats, one at a time", contestants, size, YARDSTICK)


@contextmanager
def _latency_contestant(name: ServerName, server: Subject, cores: Cores) -> Iterator[Contestant]:
    """Its client compares all answers with the first, and `check` one with what is right."""
    question = SERVERS[name].question(LATENCY_MODEL)
    # One and the same client for all, so that its part of the latency is the same.
    with caller(server, question.method, question.message, SERIAL, cores.load) as load:
        burst = median_latency(server, load, "Call")
        yield Contestant(name, burst, bound=LATENCY_BOUNDS.get(name), check=lambda: question.verify(server.port))


def run_engines(size: Size) -> list[ContestRow]:
    require_native()
    return [row for name in CLASSIFIERS for batch in BATCHES for row in _measure_engine(name, batch, size)]


def _measure_engine(name: str, batch: int, size: Size) -> list[ContestRow]:
    cores, path = choose_cores(), engine(name)
    question = _question(path, batch)
    with running("YAIS", yais(path), cores.server) as server, bare_loop(path, batch, cores.server) as bare:
        contestants = [Contestant(BARE, _alone(bare, batch), CLASSIFIERS[name])]
        contestants += [
            Contestant(
                f"YAIS, {in_flight} in flight",
                _through_server(server, question, batch, in_flight),
                CLASSIFIERS[name],
                ENGINE_BOUND,
            )
            for in_flight in IN_FLIGHT
        ]
        # This process sends the requests itself.
        with pinned(cores.load):
            return compare(f"{name}, batch {batch}", contestants, size, BARE)


def _question(path: Path, batch: int) -> Question:
    pictures = np.random.default_rng(0).random((batch, *PICTURE), np.float32)
    expected = run_once(path, pictures)
    return Question(METHOD, message(path.stem, "input", pictures), lambda reply: check([reply], expected))


@contextmanager
def bare_loop(path: Path, batch: int, core: int) -> Iterator[Child]:
    """ONNX Runtime on the server's core, which has nothing to do while the server is measured, and the other way."""
    with launched("bare", [sys.executable, "-m", "bench.ort", str(path), str(batch)], core) as child:
        child.hear()
        yield child


def _alone(bare: Child, batch: int) -> Burst:
    """Milliseconds an image, as the loop itself counts them."""
    subject = bare.subject(port=0)

    def loop(runs: int) -> float:
        bare.say(str(runs))
        return float(bare.hear())

    def burst(images: int) -> ContestSample:
        runs = -(-images // batch)
        seconds, spent = metered(subject, lambda: loop(runs))
        return ContestSample.of(seconds * 1e3 / (runs * batch), runs * batch, spent)

    return burst


def _through_server(server: Subject, question: Question, batch: int, in_flight: int) -> Burst:
    """Milliseconds an image, from before the first request is sent until the last answer is in."""

    async def loop(requests: int) -> ContestSample:
        async with connected(server.port, 1, "native") as calls:
            await closed_loop(calls, in_flight, question.message, in_flight)  # Not counted.
            # By now the connection stands, and the server has run a batch of this size.
            before = usage(server)
            replies = await closed_loop(calls, in_flight, question.message, requests)
            spent = usage(server) - before
            for reply in replies:
                question.check(reply)
            return ContestSample.of(spent.seconds * 1e3 / (requests * batch), requests * batch, spent)

    # In whole batches.
    return lambda images: uvloop.run(loop(-(-images // batch)))


BENCHMARKS = {
    "service-cost": Benchmark(run_cost, short=Size(rounds=3, requests=10_000), full=Size(rounds=7, requests=80_000)),
    "service-latency": Benchmark(
        run_latency, short=Size(rounds=5, requests=1_000), full=Size(rounds=11, requests=5_000)
    ),
    # Requests are images here.
    "service-engines": Benchmark(run_engines, short=Size(rounds=3, requests=16), full=Size(rounds=15, requests=48)),
}

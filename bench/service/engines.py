"""Image classifiers through the server, beside ONNX Runtime alone on the same core."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvloop

from bench.closed_loop import METHOD, check, closed_loop, connected, message
from bench.measure import Child, Size, Subject, choose_cores, engine, launched, pinned, running, usage, yais
from bench.ort import run_once
from bench.rounds import Bound, Burst, Contestant, Row, Sample, compare, metered
from bench.service.questions import Question
from bench.transport.peers import require_native

# Requests are images here.
SHORT = Size(rounds=3, requests=16)
FULL = Size(rounds=15, requests=48)

PARTS = {"resnet50": 1.0, "efficientnet-lite0": 4.0}
BATCHES = (1, 8)
IN_FLIGHT = (1, 2)
PICTURE = (3, 224, 224)
YARDSTICK = "bare ONNX Runtime"
BOUND = Bound("at most", 1.01)


def run(size: Size) -> list[Row]:
    require_native()
    return [row for name in PARTS for batch in BATCHES for row in _measure(name, batch, size)]


def _measure(name: str, batch: int, size: Size) -> list[Row]:
    cores, path = choose_cores(), engine(name)
    question = _question(path, batch)
    with running("YAIS", yais(path), cores.server) as server, bare_loop(path, batch, cores.server) as bare:
        contestants = [Contestant(YARDSTICK, _alone(bare, batch), PARTS[name])]
        contestants += [
            Contestant(f"YAIS, {in_flight} in flight", _served(server, question, batch, in_flight), PARTS[name], BOUND)
            for in_flight in IN_FLIGHT
        ]
        with pinned(cores.load):
            return compare(f"{name}, batch {batch}", contestants, size, YARDSTICK)


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

    def burst(images: int) -> Sample:
        runs = -(-images // batch)
        seconds, spent = metered(subject, lambda: loop(runs))
        return Sample.of(seconds * 1e3 / (runs * batch), runs * batch, spent)

    return burst


def _served(server: Subject, question: Question, batch: int, in_flight: int) -> Burst:
    """Milliseconds an image, from before the first request is sent until the last answer is in."""

    async def loop(requests: int) -> Sample:
        async with connected(server.port, 1, "native") as calls:
            await closed_loop(calls, in_flight, question.message, in_flight)  # Not counted.
            before = usage(server)
            replies = await closed_loop(calls, in_flight, question.message, requests)
            spent = usage(server) - before
            for reply in replies:
                question.check(reply)
            return Sample.of(spent.seconds * 1e3 / (requests * batch), requests * batch, spent)

    return lambda images: uvloop.run(loop(-(-images // batch)))

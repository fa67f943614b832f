"""The server beside the bare engine, in turn: which part of what the GPU gives reaches the callers."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from math import ceil

import click

from bench.gpu.bare import Bare, bare, each
from bench.gpu.machine import find_gpu
from bench.gpu.networks import NAMES, Network, Precision, engine_file
from bench.gpu.serving import Callers, Case, calling, classify, served
from bench.gpu.shared import in_shared_memory
from bench.measure import NotInstalledError, Size, Subject
from bench.rounds import Bound, Burst, Contestant, Row, Sample, compare, metered

# Requests are milliseconds of a contestant's turn here.
SHORT = Size(rounds=3, requests=1_000)
FULL = Size(rounds=9, requests=5_000)

CONTEXTS = 4
CASES = tuple(Case(Network(name, "fp16"), CONTEXTS, 32) for name in NAMES)
_PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
ALL_CASES = tuple(
    Case(Network(name, precision), contexts, batch)
    for name, precision, contexts, batch in product(NAMES, _PRECISIONS, (1, CONTEXTS, 8), (8, 32, 128))
)
# Pictures in a request.
ROWS = (1, 8)
YARDSTICK = "bare engine"
SHARED = Bound("at least", 0.95)


def run(size: Size) -> list[Row]:
    find_gpu()
    return each(ALL_CASES if size.is_full else CASES, lambda case: _measure(case, size), lambda case: case.title)


def _measure(case: Case, size: Size) -> list[Row]:
    with ExitStack() as stack:
        loop = stack.enter_context(bare(engine_file(case.network), case.way))
        server = stack.enter_context(served(case))
        contestants = [Contestant(YARDSTICK, _alone(loop, case.max_batch)), *_ways(case, server, stack)]
        for one in contestants:
            # Brings up the clocks, and whatever is compiled when it is first run.
            one.burst(size.requests)
        return compare(f"{case.title}; {find_gpu().runtime}", contestants, size, YARDSTICK)


def _ways(case: Case, server: Subject, stack: ExitStack) -> Iterator[Contestant]:
    """How pictures reach the server."""
    for rows in ROWS:
        question = classify(case.network, rows)
        # Twice what the contexts run at once, so that there always is a batch to be filled.
        in_flight = ceil(2 * case.contexts * case.max_batch / rows)
        callers = stack.enter_context(calling(server, question, in_flight))
        yield Contestant(f"gRPC, {rows} in a request", _through(server, callers, rows))
        try:
            question = stack.enter_context(in_shared_memory(server, question))
        except NotInstalledError as missing:
            click.echo(f"  without shared memory: {missing}", err=True)
        else:
            callers = stack.enter_context(calling(server, question, in_flight))
            yield Contestant(f"shared memory, {rows} in a request", _through(server, callers, rows), bound=SHARED)


def _alone(loop: Bare, batch: int) -> Burst:
    """Pictures a second, as the loop itself counts them."""
    subject = loop.child.subject(port=0)

    def burst(milliseconds: int) -> Sample:
        timing, spent = metered(subject, lambda: loop(batch, milliseconds))
        return Sample(timing.rate, timing.rate / batch, spent.subject / spent.seconds, spent.others_share)

    return burst


def _through(server: Subject, callers: Callers, rows: int) -> Burst:
    """Pictures a second, from the first request sent to the last answer."""

    def burst(milliseconds: int) -> Sample:
        answered, spent = metered(server, lambda: callers(milliseconds), callers.subject)
        rate = answered.requests / answered.seconds
        return Sample(rate * rows, rate, spent.subject / spent.seconds, spent.others_share)

    return burst

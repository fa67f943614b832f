"""CPU that the server takes for a request, beside a bare grpc.aio server that echoes the same messages."""

from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import uvloop

from bench.bare import run_once
from bench.load import Array, Infer, check, closed_loop, connected, message
from bench.measure import Size, Spread, Subject, Usage, choose_cores, echo, engine, pinned, running, usage, yais

SHORT = Size(rounds=3, requests=3_000)
FULL = Size(rounds=9, requests=16_000)

CONNECTIONS = 4
IN_FLIGHT = 8  # On each connection.


class Case(NamedTuple):
    """Requests of one model with an input of one shape."""

    name: str
    model: str
    shape: tuple[int, ...]


CASES = (
    Case("identity, 16 floats", "identity", (16,)),
    Case("identity, 1,024 floats", "identity", (1024,)),
    Case("mlp, batch 1", "mlp", (1, 64)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One case. CPU in microseconds a request; `above` and `ratio` compare the two servers within each round.

    `rate` is in requests a second, `busy` the share of its core that YAIS had, `others` the share of one core that
    went to processes which have no part in this.
    """

    case: str
    echo_us: Spread
    yais_us: Spread
    above_us: Spread
    ratio: Spread
    rate: Spread
    busy: Spread
    others: Spread


class Target(NamedTuple):
    """A server, how to reach it, and what its one output should be."""

    subject: Subject
    calls: list[Infer]
    expected: Array


def run(size: Size) -> list[Row]:
    cores = choose_cores()
    engines = {name: engine(name) for name in ("identity", "mlp")}
    with ExitStack() as stack:
        subjects = [
            stack.enter_context(running("echo", echo(), cores.server)),
            stack.enter_context(running("yais", yais(*engines.values()), cores.server)),
        ]
        stack.enter_context(pinned(cores.load))
        rows = []
        for case in CASES:
            value = np.random.default_rng(0).random(case.shape, np.float32)
            expected = [value, run_once(engines[case.model], value)]
            request = message(case.model, "INPUT0", value)
            rounds = uvloop.run(_measure(subjects, expected, request, size))
            rows.append(_row(case, size, rounds))
    return rows


async def _measure(
    subjects: list[Subject], expected: list[Array], request: bytes, size: Size
) -> list[tuple[Usage, Usage]]:
    """What the echo and the server used in each round."""
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(connected(subject.port, CONNECTIONS)) for subject in subjects]
        bare, served = map(Target, subjects, calls, expected)
        for target in (bare, served):
            await _burst(target, request, size.requests // 4)  # Not counted.
        return [
            (await _burst(bare, request, size.requests), await _burst(served, request, size.requests))
            for _ in range(size.rounds)
        ]


async def _burst(target: Target, request: bytes, count: int) -> Usage:
    before = usage(target.subject)
    replies = await closed_loop(target.calls, IN_FLIGHT, request, count)
    spent = usage(target.subject) - before
    check(replies, target.expected)
    return spent


def _row(case: Case, size: Size, rounds: list[tuple[Usage, Usage]]) -> Row:
    microseconds = 1e6 / size.requests
    return Row(
        case.name,
        echo_us=Spread.of([echo.subject * microseconds for echo, _ in rounds]),
        yais_us=Spread.of([yais.subject * microseconds for _, yais in rounds]),
        above_us=Spread.of([(yais.subject - echo.subject) * microseconds for echo, yais in rounds]),
        ratio=Spread.of([yais.subject / echo.subject for echo, yais in rounds]),
        rate=Spread.of([size.requests / yais.seconds for _, yais in rounds]),
        busy=Spread.of([yais.subject / yais.seconds for _, yais in rounds]),
        others=Spread.of([both.others_share for pair in rounds for both in pair]),
    )

"""Open loop in a process of its own: siege's sender on the native transport's raw path, and what came of it.

Reads lines of RATE and COUNT, sends COUNT requests at RATE a second, and answers each line with an
`OpenLoopTally` in JSON.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import click
import grpc
import uvloop

from bench.closed_loop import METHOD
from bench.measure import BenchError, uncollected
from yais.clients.channel import channel_options
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Constant, Until
from yais.clients.siege.transports import Done, UnaryCallable
from yais.clients.stats.histogram import Histogram
from yais.clients.stats.outcomes import OK, STATUS_NUMBERS
from yais.clients.stats.recorder import RecordBatch, Recorder
from yais.clients.stats.report import Report, summarise
from yais.transport import Channel, insecure_channel
from yais.transport.client_call import ClientCall
from yais.transport.raw import RawUnary

REFUSAL = "Exceeds maximum queue size"

_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class OpenLoopTally:
    """What became of the requests that were offered. Those dropped were not sent, for too many had no answer yet.

    `failed` are all that were neither accepted nor refused, `goodput` is in answers a second. Latencies are
    milliseconds from the due times, None where there were none; `lag` is how late the generator sent, at p99. `replies`
    are the distinct ones, in hexadecimal digits.
    """

    offered: int
    dropped: int
    accepted: int
    refused: int
    failed: dict[str, int]
    goodput: float
    p50: float | None
    p99: float | None
    refused_p99: float | None
    lag: float
    replies: list[str]


@click.command()
@click.option("--connections", type=int, required=True)
@click.option("--max-outstanding", type=int, required=True)
@click.argument("port", type=int)
@click.argument("request_file", type=click.Path(exists=True, path_type=Path))
def main(connections: int, max_outstanding: int, port: int, request_file: Path) -> None:
    """Sends the bytes of REQUEST_FILE to PORT."""
    uvloop.run(work(port, request_file.read_bytes(), connections, max_outstanding))


async def work(port: int, request: bytes, connections: int, max_outstanding: int) -> None:
    async with connected(port, connections) as channels:
        replies: set[bytes] = set()
        lines = [keeping(channel.raw_unary(METHOD), replies) for channel in channels]
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            rate, count = line.split()
            pacer = Until(Constant(float(rate)), int(count))
            # The lines set no deadline, which would cost a timer for each request.
            refusals = Refusals()
            recorder = Recorder(sink=refusals)
            # The number of the only model, and its request, without a call of Python for each.
            take = repeat((0, request)).__next__
            sender = OpenLoop(lines, take, pacer, timeout=0, max_outstanding=max_outstanding, recorder=recorder)
            # Emptied and not replaced, since the lines hold on to it.
            replies.clear()
            with uncollected():
                await sender.run()
            report = summarise(recorder.tally)
            print(json.dumps(asdict(tally(report, refusals.latency, replies))), flush=True)


@asynccontextmanager
async def connected(port: int, connections: int) -> AsyncIterator[list[Channel]]:
    channels = [insecure_channel(f"127.0.0.1:{port}", channel_options()) for _ in range(connections)]
    try:
        # Connecting is no part of the load.
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        yield channels
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def keeping(raw: RawUnary, replies: set[bytes]) -> UnaryCallable:
    """A line that adds the distinct replies to `replies`."""

    def send(request: bytes, done: Done, timeout: float, /) -> ClientCall:
        def ended(call: ClientCall) -> None:
            # Equal replies are kept once: they are checked between steps, not under load.
            if call.status == OK:
                replies.add(bytes(call.message or b""))
            done(call)

        return raw(request, ended)

    return send


class Refusals:
    """A recorder's sink: how long refusals took."""

    def __init__(self) -> None:
        self.latency = Histogram()

    def __call__(self, batch: RecordBatch, start: int) -> None:
        self.latency.add((batch.done - batch.due)[batch.status == STATUS_NUMBERS[_UNAVAILABLE]])


def tally(report: Report, refusals: Histogram, replies: set[bytes]) -> OpenLoopTally:
    """Raises `BenchError` where the server was not to be had, which is something else than a refusal by its queue."""
    for failure in report.failures:
        if failure.status == _UNAVAILABLE.name and REFUSAL not in failure.text:
            raise BenchError(f"the server is gone: {failure.text}")
    return OpenLoopTally(
        report.counts.offered,
        report.counts.dropped,
        accepted=report.counts.completed,
        refused=report.statuses.get(_UNAVAILABLE.name, 0),
        failed={name: count for name, count in report.statuses.items() if name != _UNAVAILABLE.name},
        goodput=report.rate_answered,
        p50=report.latency.ms.get("p50"),
        p99=report.latency.ms.get("p99"),
        refused_p99=refusals.percentiles().get("p99"),
        lag=report.lag.ms.get("p99", 0.0),
        replies=sorted(reply.hex() for reply in replies),
    )


if __name__ == "__main__":
    main()

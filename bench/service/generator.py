"""An open loop, in a process of its own: siege's sender on the native transport's raw path, and what came of it.

Reads lines of RATE and COUNT, sends COUNT requests at RATE a second, and answers each line with a `Tally` in JSON.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import grpc
import numpy as np
import uvloop

from bench.load import METHOD
from bench.measure import BenchError, uncollected
from yais.clients.channels import options
from yais.clients.records import OK, STATUS_NUMBERS, Records
from yais.clients.report import percentiles, summarise
from yais.clients.siege.lines import Done, Line
from yais.clients.siege.pacer import Constant, Until
from yais.clients.siege.sender import Sender
from yais.transport import Channel, insecure_channel
from yais.transport.client_call import ClientCall
from yais.transport.raw import RawUnary

REFUSAL = "Exceeds maximum queue size"

_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the requests that were offered. Those held back were not sent, for too many had no answer yet.

    `failed` are all that were neither accepted nor refused, `goodput` is in answers a second. Latencies are
    milliseconds from the due times, None where there were none; `lag` is how late the generator sent, at p99. `replies`
    are the distinct ones, in hexadecimal digits.
    """

    offered: int
    held_back: int
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
            sender = Sender(lines, request, pacer, timeout=0, max_outstanding=max_outstanding)
            replies.clear()
            with uncollected():
                await sender.run()
            print(json.dumps(asdict(tally(sender.records, replies))), flush=True)


@asynccontextmanager
async def connected(port: int, connections: int) -> AsyncIterator[list[Channel]]:
    channels = [insecure_channel(f"127.0.0.1:{port}", options()) for _ in range(connections)]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        yield channels
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def keeping(raw: RawUnary, replies: set[bytes]) -> Line:
    """A line that adds the distinct replies to `replies`."""

    def send(request: bytes, done: Done, timeout: float, /) -> ClientCall:
        def ended(call: ClientCall) -> None:
            if call.status == OK:
                replies.add(bytes(call.message or b""))
            done(call)

        return raw(request, ended)

    return send


def tally(records: Records, replies: set[bytes]) -> Tally:
    """Raises `BenchError` where the server was not to be had, which is something else than a refusal by its queue."""
    unavailable = STATUS_NUMBERS[_UNAVAILABLE]
    for number, text in records.texts:
        if number == unavailable and REFUSAL not in text:
            raise BenchError(f"the server is gone: {text}")
    report = summarise(records)
    refused = _latencies(records, unavailable)
    return Tally(
        report.offered,
        report.held_back,
        accepted=report.completed,
        refused=report.failed_by_status.pop(_UNAVAILABLE.name, 0),
        failed=report.failed_by_status,
        goodput=report.rate_answered,
        p50=report.latency.get("p50"),
        p99=report.latency.get("p99"),
        refused_p99=refused.get("p99"),
        lag=report.lag.get("p99", 0.0),
        replies=sorted(reply.hex() for reply in replies),
    )


def _latencies(records: Records, status: int) -> dict[str, float]:
    due, done = (np.array(column, np.int64) for column in (records.due, records.done))
    return percentiles((done - due)[np.array(records.status) == status])


if __name__ == "__main__":
    main()

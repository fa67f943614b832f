"""`siege`: a constant rate of requests, whatever the server makes of it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import click
import uvloop

from yais.clients import commands, interrupts
from yais.clients.options import POSITIVE, Common, Positive, common_options
from yais.clients.records import Records
from yais.clients.report import summarise
from yais.clients.siege.lines import Line, TransportName, has_native, open_line
from yais.clients.siege.live import open_view, watch
from yais.clients.siege.pacer import SECOND, Constant, Pacer, Until
from yais.clients.siege.sender import Sender

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_YEAR = 366 * 86_400

EXAMPLES = """\b
Examples:
  siege --rate 100
  siege --rate 2500 --duration 30 --model mlp --batch 8
  siege --rate 50 --count 1000 --picture coffee.jpg --timeout 2
  siege --rate 4000 --duration 10 --connections 4 --max-outstanding 200
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent where, and within which bounds; `timeout` in seconds."""

    target: str
    request: bytes
    pacer: Pacer
    timeout: float
    max_outstanding: int
    connections: int
    transport: TransportName


@click.command(epilog=EXAMPLES)
@common_options
@click.option("--rate", type=Positive(1e6), required=True, help="Requests a second.")
@click.option("--duration", type=Positive(_YEAR), help="Seconds to send for; by default until Ctrl-C.")
@click.option("--count", type=POSITIVE, help="Requests to send, instead of --duration.")
@click.option("--max-outstanding", type=POSITIVE, default=950, show_default=True, help="The most requests in flight.")
@click.option("--connections", type=click.IntRange(1, 256), default=1, show_default=True, help="Connections in turn.")
@click.option(
    "--transport",
    type=click.Choice(["native", "grpcio"]),
    default=lambda: "native" if has_native() else "grpcio",
    show_default="native, where it was built",
    help="What speaks gRPC: YAIS's own transport, or grpcio's, which costs siege more for each request.",
)
def main(
    common: Common,
    rate: float,
    duration: float | None,
    count: int | None,
    max_outstanding: int,
    connections: int,
    transport: TransportName,
) -> None:
    """Sends requests at a constant rate, whatever the replies do, and prints the latencies.

    Request k is due k / rate seconds after the start, and its latency counts from then: a server that stalls cannot
    hide it by slowing down the load. The report gives beside it the service time (from the send to the answer) and
    the send lag (from the due time to the send; this is siege's own delay). A request that is due while
    --max-outstanding are in flight is held back: not sent at all, but counted.

    Exits with 0 when all that was offered was answered, 1 when anything failed or was held back, 2 for bad usage.
    Ctrl-C ends the sending and waits for what is in flight, a second one cancels that.
    """
    if duration is not None and count is not None:
        raise click.UsageError("--duration and --count exclude each other")
    if transport == "native" and not has_native():
        raise click.UsageError("--transport: 'native' was not built into this installation; 'grpcio' is there")
    pacer = Until(Constant(rate), count, None if duration is None else round(duration * SECOND))
    request = commands.begin(common).request().SerializeToString()
    load = Load(common.target, request, pacer, common.timeout, max_outstanding, connections, transport)
    records = uvloop.run(send(load))
    commands.end(summarise(records, rate))


async def send(load: Load) -> Records:
    """The records of the whole schedule, or of what a signal left of it."""
    async with connected(load) as lines:
        sender = Sender(
            lines,
            load.request,
            load.pacer,
            timeout=load.timeout,
            max_outstanding=load.max_outstanding,
            on_first_held_back=lambda: warn_of_holding_back(load.max_outstanding),
        )
        # What lives by now lives for the whole run; the collector need not go through it in the midst of a send.
        gc.collect()
        gc.freeze()
        with open_view() as view, interrupts.handled(sender.stop, sender.cancel):
            watcher = asyncio.create_task(watch(sender, load.pacer, view))
            await sender.run()
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
    return sender.records


@asynccontextmanager
async def connected(load: Load) -> AsyncIterator[list[Line]]:
    """As many lines as asked for, all of them with a connection."""
    opened = [open_line(load.transport, load.target, METHOD) for _ in range(load.connections)]
    try:
        async with asyncio.timeout(load.timeout):
            await asyncio.gather(*(channel.channel_ready() for channel, _ in opened))
        yield [line for _, line in opened]
    except TimeoutError:
        raise click.ClickException(f"{load.target}: no connection within {load.timeout} s") from None
    finally:
        await asyncio.gather(*(channel.close() for channel, _ in opened))


def warn_of_holding_back(max_outstanding: int) -> None:
    click.echo(
        f"warning: {max_outstanding} requests are in flight (--max-outstanding): answers come more slowly than "
        "requests are due, which are held back until there is room",
        err=True,
    )

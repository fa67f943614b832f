"""`siege chaos proxy`: the proxy by itself, for any client and any server."""

import asyncio

import click
import uvloop

from yais.clients.channel import HostPort as Server
from yais.clients.channel import parse_target
from yais.clients.options import handle_signals
from yais.clients.siege.chaos.doses import KINDS, Dose, parse, usage
from yais.clients.siege.chaos.proxy import Proxy

_TOXICS = "\n".join(f"  {usage(name)}" for name in KINDS)

EXAMPLES = f"""\b
Toxics:
{_TOXICS}

\b
Examples:
  siege chaos proxy --listen 6000 --to localhost:50051 --toxic latency:50ms:10ms
  siege chaos proxy --listen 6000 --to localhost:50051 --toxic bandwidth:20KB:down --toxic reset:2s:0.1
"""


class ToxicType(click.ParamType[Dose]):
    """A toxic as `doses.parse` reads it."""

    name = "toxic"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> Dose:
        if isinstance(value, Dose):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), parameter, context)


def _to(context: click.Context, parameter: click.Parameter, value: str) -> Server:
    try:
        return parse_target(value).server
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


TOXIC = ToxicType()


@click.command(epilog=EXAMPLES)
@click.option("--listen", type=click.IntRange(0, 65535), required=True, help="Port to listen on; 0 takes a free one.")
@click.option("--to", callback=_to, required=True, metavar="HOST:PORT", help="Where connections are passed on to.")
@click.option("--toxic", "doses", type=TOXIC, multiple=True, help="What befalls them (repeatable, in this order).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For everything at random.")
def main(listen: int, to: Server, doses: tuple[Dose, ...], seed: int) -> None:
    """Passes TCP connections on, through toxics, until Ctrl-C.

    A PROBABILITY (0 to 1, without a unit) is the share of the connections that a toxic befalls; up is from the client
    to the server. Durations have the units us, ms, s, m; sizes B, KB, MB, KiB, MiB.
    """
    try:
        uvloop.run(_serve(listen, Proxy(to.host, to.port, doses, str(seed))))
    except OSError as error:
        raise click.BadParameter(f"{listen} cannot be listened on: {error}", param_hint="--listen") from error


async def _serve(listen: int, proxy: Proxy) -> None:
    over = asyncio.Event()
    async with proxy.listening(port=listen) as port:
        click.echo(f"listening on 127.0.0.1:{port}")
        with handle_signals(over.set, over.set):
            await over.wait()
    click.echo(f"passed on {proxy.connections:,} connections")

"""One of several processes that serve on the same port; started by the supervisor, which its stdin is connected to."""

import asyncio
import logging
import socket
import sys
from contextlib import suppress

import uvloop

from yais.engines import EngineError
from yais.server.exit_codes import ExitCode, leave
from yais.server.ipc import Channel, Command, Failure, Loss, Setup
from yais.server.listening import StartError
from yais.server.service import Service
from yais.server.terminal import log_to_stderr

logger = logging.getLogger("yais.server")


def main() -> None:
    leave(*uvloop.run(_work(socket.socket(fileno=sys.stdin.fileno()))))


async def _work(sock: socket.socket) -> tuple[ExitCode, bool]:
    """Serves as the supervisor says; returns the exit code, and whether a run of an engine hangs."""
    channel = await Channel.open(sock)
    setup: Setup = await channel.receive()
    log_to_stderr(setup.log_level, f"worker {setup.number} ")
    lost = asyncio.Event()
    service = Service(setup.config, lost.set, setup.port)
    try:
        code = await _serve(service, channel, lost)
    except (EngineError, StartError) as error:
        channel.send(Failure(str(error)))
        code = ExitCode.FAILED_START
    await channel.close()
    return code, service.is_hanging


async def _serve(service: Service, channel: Channel, lost: asyncio.Event) -> ExitCode:
    """Serves until it is told to drain, or until a device is `lost`."""
    await service.load()
    channel.send(service.summaries)
    obeying, losing = asyncio.create_task(_obey(service, channel)), asyncio.create_task(lost.wait())
    await asyncio.wait((obeying, losing), return_when=asyncio.FIRST_COMPLETED)
    losing.cancel()
    if lost.is_set():
        channel.send(Loss())
    try:
        if obeying.done():
            obeying.result()
    except EOFError:
        logger.warning("The supervisor has gone")
    return await _drain(service, channel, obeying) if service.port else ExitCode.DRAINED


async def _obey(service: Service, channel: Channel) -> None:
    """Does what it is told until that is to drain. Raises EOFError when the supervisor has gone."""
    while True:
        match await channel.receive():
            case Command.LISTEN:
                await service.listen()
                channel.send(None)
            case Command.READ:
                channel.send(await service.figures())
            case Command.DRAIN:
                return


async def _drain(service: Service, channel: Channel, obeying: asyncio.Task[None]) -> ExitCode:
    """Tells its figures until the end."""
    telling = asyncio.create_task(_tell(service, channel, obeying))
    code = await service.drain()
    telling.cancel()
    with suppress(asyncio.CancelledError, EOFError):
        await telling
    channel.send(await service.figures())
    return code


async def _tell(service: Service, channel: Channel, obeying: asyncio.Task[None]) -> None:
    """Goes on telling figures, also once it has been told to drain."""
    await obeying
    while True:
        await _obey(service, channel)


if __name__ == "__main__":
    main()

"""One of several processes that serve on the same port; started by the supervisor, which its stdin is connected to."""

import asyncio
import logging
import socket
import sys
from contextlib import suppress

from yais.engines import EngineError
from yais.server.channel import Channel, Command, Failure, Setup
from yais.server.listening import StartError
from yais.server.process import ExitCode, leave, log_to_stderr, run
from yais.server.service import Service

logger = logging.getLogger("yais.server")


def main() -> None:
    leave(*run(_work(socket.socket(fileno=sys.stdin.fileno()))))


async def _work(sock: socket.socket) -> tuple[ExitCode, bool]:
    """Serves as the supervisor says; returns the exit code, and whether a run of an engine hangs."""
    channel = await Channel.open(sock)
    setup: Setup = await channel.receive()
    log_to_stderr(setup.log_level, f"worker {setup.number} ")
    service = Service(setup.config, setup.port)
    try:
        code = await _serve(service, channel)
    except (EngineError, StartError) as error:
        channel.send(Failure(str(error)))
        code = ExitCode.FAILED_START
    await channel.close()
    return code, service.is_hanging


async def _serve(service: Service, channel: Channel) -> ExitCode:
    await service.load()
    channel.send(service.summaries)
    try:
        await _obey(service, channel)
    except EOFError:
        logger.warning("The supervisor has gone")
    return await _drain(service, channel) if service.port else ExitCode.DRAINED


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


async def _drain(service: Service, channel: Channel) -> ExitCode:
    """Tells its figures until the end."""
    telling = asyncio.create_task(_obey(service, channel))
    code = await service.drain()
    telling.cancel()
    with suppress(asyncio.CancelledError, EOFError):
        await telling
    channel.send(await service.figures())
    return code


if __name__ == "__main__":
    main()

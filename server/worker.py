"""Worker: one of several processes that serve on the same port, connected to its supervisor by its stdin."""

import asyncio
import logging
import socket
import sys
from contextlib import suppress

import uvloop

from yais.engines import EngineError
from yais.server.exit_codes import ExitCode, exit_process
from yais.server.ipc import Command, DeviceLoss, MessagePipe, Setup, StartFailure
from yais.server.listening import StartError
from yais.server.log import log_to_stderr
from yais.server.service import Service
from yais.server.serving import tune_process

logger = logging.getLogger("yais.server")


def main() -> None:
    exit_process(*uvloop.run(_work(socket.socket(fileno=sys.stdin.fileno()))))


async def _work(sock: socket.socket) -> tuple[ExitCode, bool]:
    """Serves as the supervisor says; returns the exit code, and whether a run of an engine hangs."""
    # The socket is the process's stdin, which a child inherits without an argument for its number.
    pipe = await MessagePipe.open(sock)
    setup: Setup = await pipe.receive()
    log_to_stderr(setup.log, setup.number)
    lost = asyncio.Event()
    service = Service(setup.config, lost.set, setup.port)
    try:
        code = await _serve(service, pipe, lost)
    except (EngineError, StartError) as error:
        pipe.send(StartFailure(str(error)))
        code = ExitCode.FAILED_START
    await pipe.close()
    return code, service.is_hanging


async def _serve(service: Service, pipe: MessagePipe, lost: asyncio.Event) -> ExitCode:
    """Serves until the command to drain, or until a device is `lost`."""
    await service.load()
    pipe.send(service.summaries)
    # Commands end with the one to drain, or when the supervisor has gone.
    commands, losing_device = asyncio.create_task(_handle_commands(service, pipe)), asyncio.create_task(lost.wait())
    await asyncio.wait((commands, losing_device), return_when=asyncio.FIRST_COMPLETED)
    losing_device.cancel()
    if lost.is_set():
        pipe.send(DeviceLoss())
    try:
        if commands.done():
            commands.result()
    except EOFError:
        logger.warning("The supervisor has gone")
    # Without a port it has never listened, and nothing was accepted.
    return await _drain(service, pipe, commands) if service.port else ExitCode.DRAINED


async def _handle_commands(service: Service, pipe: MessagePipe) -> None:
    """Handles commands up to the one to drain. Raises EOFError when the supervisor has gone."""
    while True:
        match await pipe.receive():
            case Command.LISTEN:
                await service.listen()
                tune_process(service.config.transport)
                pipe.send(None)
            case Command.READ:
                pipe.send(await service.stats())
            case Command.DRAIN:
                return


async def _drain(service: Service, pipe: MessagePipe, commands: asyncio.Task[None]) -> ExitCode:
    """Drains, and answers READ until the end; its last statistics come unasked."""
    serving_stats = asyncio.create_task(_serve_stats(service, pipe, commands))
    code = await service.drain()
    serving_stats.cancel()
    with suppress(asyncio.CancelledError, EOFError):
        await serving_stats
    pipe.send(await service.stats())
    return code


async def _serve_stats(service: Service, pipe: MessagePipe, commands: asyncio.Task[None]) -> None:
    """Goes on answering READ after the command to drain."""
    # After a lost device the command to drain is still to come, and changes nothing.
    await commands
    while True:
        await _handle_commands(service, pipe)


if __name__ == "__main__":
    main()

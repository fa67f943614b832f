"""Messages between a supervisor and its workers, and the private socket that carries them.

A worker gets its `Setup` first and answers with its models' summaries; each `Command` that has an answer is answered in
turn. The end of the socket is the end of the process on the other side.
"""

import asyncio
import pickle
import socket
import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from yais.server.config import Config
from yais.server.log import LogSettings

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to begin: `port` is the one that all workers share."""

    number: int
    config: Config
    port: int
    log: LogSettings


class Command(Enum):
    """LISTEN: serve from now on; answered, with None, once that is so.

    READ: answered with `ProcessStats`, the last of which come unasked, when a worker is at its end.
    DRAIN: has no answer but that end.
    """

    LISTEN = auto()
    READ = auto()
    DRAIN = auto()


@dataclass(frozen=True, slots=True)
class StartFailure:
    """In place of an answer: why the worker cannot start."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceLoss:
    """Said unasked: a device is gone, and the worker drains."""


class MessagePipe:
    """A socket that carries pickled objects."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> "MessagePipe":
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: object) -> None:
        """Does not wait; what is sent to a process that has gone is lost."""
        # asyncio warns of writes after the end.
        if not self._writer.is_closing():
            data = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Any:
        """The next object. Raises EOFError when the other side has gone."""
        # A pickle can run code; both ends of this socket are this server's own processes.
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return pickle.loads(await self._reader.readexactly(length))
        except ConnectionError as error:
            raise EOFError from error

    async def close(self) -> None:
        """Waits until all is sent, unless the other side has gone."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return

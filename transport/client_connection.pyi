import asyncio
from collections.abc import Callable
from typing import Any, Protocol, Self

from _typeshed import ReadableBuffer

from yais.transport.client_call import ClientCall
from yais.transport.connection import Connection
from yais.transport.connection import _Owner as _AnyOwner
from yais.transport.metadata import Field
from yais.transport.options import Settings
from yais.transport.stream import _Listener

class _Owner(_AnyOwner, Protocol):
    def connection_ready(self, connection: Any, /) -> None: ...
    def connection_draining(self, connection: Any, error_code: int, reason: bytes, /) -> None: ...

class ClientConnection(Connection):
    def __new__(cls, loop: asyncio.AbstractEventLoop, owner: _Owner, settings: Settings) -> Self: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def is_draining(self) -> bool: ...
    @property
    def has_answered(self) -> bool: ...
    def start(
        self,
        fields: list[Field],
        *buffers: ReadableBuffer,
        callback: Callable[[ClientCall], object] | None = None,
        listener: _Listener | None = None,
        is_compressed: bool = False,
        is_last: bool = True,
        is_single: bool = False,
    ) -> ClientCall: ...
    def drain(self) -> None: ...
    def cancel_all(self) -> None: ...

"""Protocols of asyncio: the connections as subclasses of `asyncio.BufferedProtocol`, which event loops look for."""

import asyncio

from yais.transport.client_connection import ClientConnection
from yais.transport.server_connection import ServerConnection


class ServerProtocol(ServerConnection, asyncio.BufferedProtocol):
    """A client's connection."""


class ClientProtocol(ClientConnection, asyncio.BufferedProtocol):
    """A connection to a server."""

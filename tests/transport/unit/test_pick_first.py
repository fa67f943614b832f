"""A channel's connections, to a server that says when each of them begins and ends."""

import asyncio
from dataclasses import dataclass

from grpc import ChannelConnectivity as State
from grpc import StatusCode
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, RequestReceived

from yais import transport


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server's end of a connection, which says nothing by itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    h2: H2Connection

    def greet(self) -> None:
        self.h2.initiate_connection()
        self.writer.write(self.h2.data_to_send())

    async def take_call(self) -> None:
        events: list[Event] = []
        while not any(isinstance(event, RequestReceived) for event in events):
            events = self.h2.receive_data(await self.reader.read(65_536))

    def go_away(self) -> None:
        """What was called is still to be answered."""
        self.h2.close_connection(last_stream_id=1)
        self.writer.write(self.h2.data_to_send())

    async def close(self) -> None:
        """Returns when the client has closed it as well."""
        self.writer.write_eof()
        while await self.reader.read(65_536):
            pass
        self.writer.close()


async def test_the_end_of_a_draining_connection_is_not_that_of_the_next_attempt() -> None:
    accepted: asyncio.Queue[Accepted] = asyncio.Queue()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(Accepted(reader, writer, H2Connection(H2Configuration(client_side=False))))

    async with asyncio.timeout(30), await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        channel = transport.insecure_channel(f"{host}:{port}")
        channel.get_state(try_to_connect=True)
        first = await accepted.get()
        first.greet()
        call = channel.unary_unary("/test.PickFirst/Call")(b"")
        await first.take_call()
        first.go_away()
        await channel.wait_for_state_change(State.READY)
        channel.get_state(try_to_connect=True)
        second = await accepted.get()
        await first.close()
        assert await call.code() is StatusCode.UNAVAILABLE
        assert channel.get_state() is State.CONNECTING
        second.greet()
        await channel.wait_for_state_change(State.CONNECTING)
        assert channel.get_state() is State.READY
        await channel.close()
        await second.close()


async def test_closing_a_channel_that_still_connects_takes_none_of_the_grace() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    async with await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        # The server does not answer the TLS handshake, so that the attempt goes on.
        channel = transport.secure_channel(f"{host}:{port}", transport.ssl_channel_credentials())
        channel.get_state(try_to_connect=True)
        writer = await accepted.get()
        async with asyncio.timeout(5):
            await channel.close(grace=60)
        writer.close()

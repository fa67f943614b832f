"""A client's and a server's connection in one process, on sockets and a loop that do nothing by themselves."""

from collections.abc import Callable
from typing import Any

from yais.transport.client_call import ClientCall
from yais.transport.client_connection import ClientConnection
from yais.transport.connection import Connection
from yais.transport.options import Settings
from yais.transport.server_call import Method, ServerCall
from yais.transport.server_connection import ServerConnection

FIELDS = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a/b"),
    (b":authority", b"x"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]


class Loop:
    """Runs nothing by itself."""

    def __init__(self) -> None:
        self.ready: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.ready.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        self.call_soon(callback, *args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What callbacks raise is theirs."""

    def turn(self) -> None:
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()


class Pipe:
    """A socket's transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_over = False
        self.on_write: Callable[[], object] = lambda: None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 50051) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return self.is_over

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))
        self.on_write()

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        self.is_over = True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    abort = close


class Owner:
    def connection_opened(self, connection: Connection) -> None: ...
    def connection_ready(self, connection: Connection) -> None: ...
    def connection_draining(self, connection: Connection, error_code: int, reason: bytes) -> None: ...
    def connection_closed(self, connection: Connection, error: Exception | None) -> None: ...


class Listener:
    def __init__(self, on_change: Callable[[], object]) -> None:
        self.changed = self.closed = on_change


class Line:
    """A client's and a server's connection that have greeted each other; `moment` is called inside of callbacks."""

    def __init__(self, server: type[ServerConnection] = ServerConnection, **settings: Any) -> None:
        self.loop = Loop()
        self.moment: Callable[[], object] = lambda: None
        self.calls: list[ServerCall] = []
        method = Method(self._serve, is_raw=True)
        methods = {b"/a/b": method, b"/s": Method(self._serve, takes_stream=True)}
        self.server = server(self.loop, Owner(), Settings(**settings), methods)  # type: ignore[arg-type]
        self.client = ClientConnection(self.loop, Owner(), Settings())  # type: ignore[arg-type]
        self.to_client, self.to_server = Pipe(), Pipe()
        self.server.connection_made(self.to_client)  # type: ignore[arg-type]
        self.client.connection_made(self.to_server)  # type: ignore[arg-type]
        self.move()

    def _serve(self, call: ServerCall, message: Any) -> None:
        self.calls.append(call)
        call.listener = Listener(lambda: self.moment())
        self.moment()

    def move(self) -> None:
        """Until both ends have said and heard all there is."""
        for _ in range(20):
            for pipe, peer in ((self.to_server, self.server), (self.to_client, self.client)):
                data, pipe.written = b"".join(pipe.written), []
                for at in range(0, len(data), 2**16):
                    feed(peer, data[at : at + 2**16])
            self.loop.turn()

    def start(self, path: bytes = b"/a/b", body: bytes = b"hello", **how: Any) -> ClientCall:
        fields = [(name, path if name == b":path" else value) for name, value in FIELDS]
        call = self.client.start(fields, body, listener=Listener(lambda: self.moment()), **how)
        self.move()
        return call

    def lose(self) -> None:
        for connection in (self.client, self.server):
            connection.connection_lost(None)


def feed(connection: Connection, data: bytes) -> None:
    for at in range(0, len(data), 4096):
        part = data[at : at + 4096]
        buffer = connection.get_buffer(-1)
        memoryview(buffer)[: len(part)] = part
        connection.buffer_updated(len(part))

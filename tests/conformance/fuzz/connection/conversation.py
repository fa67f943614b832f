"""One connection from its beginning to its end, as an input wants it."""

from collections.abc import Iterator

from conformance.fuzz.connection.client_end import ClientEnd
from conformance.fuzz.connection.peer import bytes_of, greeting
from conformance.fuzz.connection.records import Kind, Setup
from conformance.fuzz.connection.server_end import ServerEnd
from conformance.fuzz.connection.surroundings import Connection, Loop, Socket
from conformance.fuzz.program import Program, Record
from yais.transport.options import Settings
from yais.transport.protocols import ClientProtocol, ServerProtocol

try:
    from fuzzer import poison
except ImportError:

    def poison(buffer: memoryview, size: int) -> None:
        """Under AddressSanitizer, makes reading behind the first `size` bytes an error."""


_SETTINGS = (
    Settings(),
    Settings(
        max_receive_message=1000,
        max_send_message=5000,
        max_metadata=512,
        max_concurrent_streams=3,
        stream_window=65_535,
        connection_window=65_535,
        max_held=4000,
        min_ping_interval=0.0,
    ),
    Settings(max_receive_message=100_000, stream_window=65_535, connection_window=2**20, max_held=70_000),
    Settings(max_receive_message=8 * 2**20, max_concurrent_streams=1, max_send_message=100_000),
)
_PORTIONS = 100
_AGAIN = 50_000
_EXCHANGES = 1000
_HELD_BACK = 255


class Conversation:
    """A connection with its end, its socket and its peer; `steps` plays the program, and what follows ends it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.is_client = bool(program.setup & Setup.CLIENT)
        self.loop = Loop()
        self.socket = Socket(self.loop, bool(program.setup & Setup.SLOW_SOCKET))
        self.end: ServerEnd | ClientEnd = ClientEnd() if self.is_client else ServerEnd()
        self.settings = _SETTINGS[program.variant]
        self.connection = self._connection()
        self.received = bytearray()
        self.unread = bytearray()
        self.said = b""

    def steps(self) -> Iterator[None]:
        """Stops after each record, and once more when all has come to rest."""
        self.socket.connection = self.connection
        self.connection.connection_made(self.socket)
        if self.program.setup & Setup.GREETED:
            self._arrive(greeting(self.program.setup), 0)
        for record in self.program.records:
            self._do(record)
            if self.program.setup & Setup.EAGER:
                self.loop.turn()
            yield
        self._read(0)
        self.loop.settle()
        yield

    def exchange(self) -> None:
        """All that can still be read and written is."""
        for _ in range(_EXCHANGES):
            self.socket.drain(self.socket.waiting)
            self.loop.settle()
            self._read(0)
            self.loop.settle()
            if not self.socket.waiting and (not self.unread or self.socket.is_closing()):
                return
        raise AssertionError("The conversation does not end")

    def part(self) -> None:
        """The socket is gone."""
        self.socket.break_off(None)
        self.loop.settle()
        self.connection.flush()

    def _connection(self) -> Connection:
        if isinstance(self.end, ClientEnd):
            return ClientProtocol(self.loop, self.end, self.settings)
        return ServerProtocol(self.loop, self.end, self.settings, self.end.methods)

    def _do(self, record: Record) -> None:
        match record.kind:
            case Kind.TURN:
                self._pass_time(record.argument)
            case Kind.PEER_READS:
                self.socket.drain(record.argument * 97 + len(record.payload))
            case Kind.ACTION:
                self.end.act(self.connection, record)
            case Kind.NESTED:
                self.end.nested.append(record)
            case Kind.AGAIN:
                self._arrive(self.said * min(record.argument * 8, _AGAIN // (len(self.said) or 1)), 0)
            case _:
                self.said = bytes_of(record)
                self._arrive(self.said, record.argument)

    def _pass_time(self, argument: int) -> None:
        if argument == 255:
            self.socket.break_off(ConnectionResetError())
        elif argument == 254:
            self.socket.half_close()
        elif argument & 1:
            self.loop.ring()
        self.loop.turn()
        self._read(0)

    def _arrive(self, data: bytes, portion: int) -> None:
        """`portion` is how much is read at a time; 0 is all, and 255 leaves it unread until more comes."""
        self.received += data
        self.unread += data
        if portion != _HELD_BACK:
            self._read(portion)

    def _read(self, portion: int) -> None:
        """As an event loop does: not while reading is paused, and not once the transport is closed."""
        count = 0
        while self.unread and self.socket.reads and not self.socket.is_closing():
            buffer = self.connection.get_buffer(-1)
            size = min(len(self.unread), len(buffer))
            if portion and count < _PORTIONS:
                size = min(size, portion)
            buffer[:size] = self.unread[:size]
            del self.unread[:size]
            poison(buffer, size)
            self.connection.buffer_updated(size)
            poison(buffer, len(buffer))
            count += 1

"""What callers of a connection may not do is refused, and says so."""

import gc
from collections.abc import Callable
from typing import Any

import pytest

from transport.unit.line_in_memory import FIELDS, Line
from yais.transport.client_call import ClientCall
from yais.transport.fields import Fields
from yais.transport.server_call import ServerCall
from yais.transport.stream import Stream

BAD_FIELDS: list[Any] = [None, "ab", [b"a", b"b"], (b"a",), (b"a", None), ("a", b"b"), (b"a", bytearray(b"b"))]


@pytest.mark.parametrize("field", BAD_FIELDS, ids=repr)
def test_a_header_field_is_a_tuple_of_two_bytes(field: Any) -> None:
    line = Line()
    line.start(b"/s", is_last=False)
    (call,) = line.calls
    for refused in (
        lambda: Fields([field]),  # type: ignore[call-arg]
        lambda: line.client.start([*FIELDS, field], b"hello"),
        lambda: call.send_headers([field]),
        lambda: call.finish(5, "details", [field]),
    ):
        with pytest.raises(TypeError, match="a header field must be a tuple of two bytes"):
            refused()
    assert not call.is_answered


@pytest.mark.parametrize("kind", [Stream, ServerCall, ClientCall])
def test_calls_are_made_by_their_connection_alone(kind: type[Stream]) -> None:
    derived = type("Derived", (kind,), {"__init__": lambda self: None})
    for make in (kind, derived, lambda: kind.__new__(kind), lambda: derived.__new__(derived)):
        with pytest.raises(TypeError, match="is made by its connection alone"):
            make()


def test_the_open_streams_of_a_connection_cannot_be_changed() -> None:
    line = Line()
    line.start(b"/s", is_last=False)
    assert list(line.server.streams.values()) == line.calls
    with pytest.raises(TypeError, match="mappingproxy"):
        del line.server.streams[1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("data", [b"", b"1234567", b"123456789"])
def test_a_ping_has_eight_bytes(data: bytes) -> None:
    with pytest.raises(ValueError, match="data must be eight bytes, not"):
        Line().server.ping(data)


@pytest.mark.parametrize("size", [-1, 256 * 1024 + 1, 2**62])
def test_no_more_is_read_than_the_buffer_has(size: int) -> None:
    with pytest.raises(ValueError, match="size must be from 0 to 262144 bytes"):
        Line().server.buffer_updated(size)


def test_the_read_buffer_stays_when_what_was_handed_out_is_released() -> None:
    line = Line()
    memoryview(line.server.get_buffer(-1)).release()
    view = line.client.get_buffer(-1)
    assert isinstance(view, memoryview)
    owner = view.obj
    view.release()
    with pytest.raises(BufferError):
        owner.clear()


def test_a_connection_is_made_once() -> None:
    line = Line()
    with pytest.raises(RuntimeError, match="connection_made was called before"):
        line.server.connection_made(line.to_client)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["connection_lost", "buffer_updated"])
def test_inside_of_a_callback_a_connection_is_neither_fed_nor_lost(method: str) -> None:
    line = Line()
    refusals: list[str] = []

    def moment() -> None:
        line.moment = lambda: None
        with pytest.raises(RuntimeError) as refusal:
            getattr(line.server, method)(0)
        refusals.append(str(refusal.value))

    line.moment = moment
    call = line.start()
    assert refusals == [f"{method} was called inside of a callback of the connection"]
    line.calls[0].respond(b"answer")
    line.move()
    assert (call.status, call.peek()) == (0, b"answer")


def flush_both(line: Line) -> Callable[[], None]:
    return lambda: [connection.flush() for connection in (line.server, line.client)] and None


def test_a_flush_inside_of_a_callback_waits_and_mixes_no_connections() -> None:
    line = Line()
    line.moment = flush_both(line)
    line.to_client.on_write = line.to_server.on_write = flush_both(line)
    call = line.start(body=bytes(300_000))
    line.calls[0].respond(bytes(range(256)) * 2000)
    line.move()
    assert (call.status, call.peek()) == (0, bytes(range(256)) * 2000)


class Finalized:
    """Garbage that refers to itself, and starts a call when it is collected."""

    def __init__(self, start: Callable[[], object]) -> None:
        self.itself = self
        self.start = start

    def __del__(self) -> None:
        self.start()


def test_a_finalizer_may_start_a_call_while_another_is_made() -> None:
    first, second = Line(), Line()
    was_enabled, thresholds = gc.isenabled(), gc.get_threshold()
    try:
        for allocations in range(20):
            gc.collect()
            Finalized(lambda: second.client.start(FIELDS, b"hello"))
            # The collector runs at this allocation of those that the call makes (with CPython 3.11), or before its end.
            gc.set_threshold(gc.get_count()[0] + allocations)
            gc.enable()
            first.client.start(FIELDS, b"hello")
            gc.disable()
    finally:
        gc.set_threshold(*thresholds)
        if was_enabled:
            gc.enable()
    gc.collect()
    first.move()
    second.move()
    assert len(first.calls) == len(second.calls) == 20

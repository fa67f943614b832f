"""What must hold, whatever a peer and an application do to a connection."""

import asyncio
import gc
import logging
import sys
import weakref

from conformance.fuzz.connection.client_end import ClientEnd
from conformance.fuzz.connection.conversation import Conversation
from conformance.fuzz.connection.end import BUFFERS, End, InjectedError
from conformance.fuzz.connection.output import Output
from conformance.fuzz.connection.received import Received
from conformance.fuzz.connection.records import LANGUAGE, Setup
from conformance.fuzz.connection.server_end import ServerEnd
from conformance.fuzz.program import Program

_REPEATS = 3
# What a loop reports when it is forgotten while tasks are pending.
_DESTROYED = "Task was destroyed but it is pending!"


def play(data: bytes) -> None:
    """Raises AssertionError, or whatever the transport lets out, when something does not hold for the input `data`."""
    program = LANGUAGE.decode(data)
    if _leftovers(program):
        # The first time something of Python's own may have come to stay.
        left = min((_leftovers(program) for _ in range(_REPEATS)), key=len)
        assert not left, f"Objects are left over: {left}"


def _leftovers(program: Program) -> list[str]:
    """The types of the objects that a conversation makes and that outlive it.

    Empty lists do not count: each write leaves one to the next, in the place of the last.
    """
    gc.disable()
    gc.freeze()
    logging.disable()
    try:
        _converse(program)
        left = gc.get_objects()
        return [type(item).__name__ for item in left if item != []]
    finally:
        logging.disable(logging.NOTSET)
        gc.unfreeze()
        gc.enable()


def _converse(program: Program) -> None:
    counts = _references()
    conversation = Conversation(program)
    is_forgotten = bool(program.setup & Setup.FORGOTTEN)
    asyncio._set_running_loop(conversation.loop)
    try:
        _play(conversation, is_forgotten)
    finally:
        asyncio._set_running_loop(None)
    _check_reports(conversation)
    if not is_forgotten:
        assert _references() == counts, "Buffers that were sent are still referred to by calls that are over"
    _check_calls(conversation.end, is_forgotten)
    connection = weakref.ref(conversation.connection)
    del conversation
    if is_forgotten:
        # Coroutines that are thrown away clean up first.
        while gc.collect():
            pass
    assert connection() is None, f"The connection is still referred to: {gc.get_referrers(connection())}"
    assert _references() == counts, "Buffers that were sent are still referred to"
    _check_exports()


def _play(conversation: Conversation, is_forgotten: bool) -> None:
    for _ in conversation.steps():
        _check_running(conversation)
    if is_forgotten:
        conversation.socket.forget()
        _check_output(conversation)
        return
    conversation.exchange()
    _check_rest(conversation)
    conversation.part()
    _check_end(conversation)


def _check_running(conversation: Conversation) -> None:
    """What the connection says that its calls hold is what they do; only a build with its insides open shows it."""
    connection, socket = conversation.connection, conversation.socket
    assert socket.is_closing() or not socket.was_overrun, "Something was written to a full socket"
    if hasattr(connection, "held"):
        calls = [*connection.streams.values(), *getattr(connection, "waiting", ())]
        assert connection.held == sum(call.held for call in calls), "Bytes held are miscounted"
        assert connection.pending == sum(call.pending for call in calls), "Bytes to be sent are miscounted"


def _check_rest(conversation: Conversation) -> None:
    """Where nothing happens any more, nothing can: all that may be was sent, and the peer may send what is read."""
    connection, socket, end = conversation.connection, conversation.socket, conversation.end
    size = len(socket.taken)
    connection.flush()
    assert (socket.waiting, len(socket.taken)) == (0, size), "Something was left unwritten"
    output, received = _check_output(conversation)
    if socket.is_closing():
        return
    output.check_granted(
        conversation.settings,
        [number for number, call in connection.streams.items() if not call.has_message and not call.is_ended],
    )
    output.check_used([number for number, call in connection.streams.items() if call.pending])
    if received.concurrency and not connection.streams:
        assert all(call.is_closed or call.id for call in end.calls), "A call waits for nothing"


def _check_output(conversation: Conversation) -> tuple[Output, Received]:
    received = Received(bytes(conversation.received))
    end = conversation.end
    output = Output(received, {call.id: content for call, content in end.sent.items()})
    is_slow = bool(conversation.program.setup & Setup.SLOW_SOCKET)
    output.check(bytes(conversation.socket.taken), conversation.is_client, may_be_cut=is_slow)
    for call, messages in end.heard.items():
        received.check(call.id, messages)
    return output, received


def _check_end(conversation: Conversation) -> None:
    connection, end = conversation.connection, conversation.end
    assert end.is_lost == 1, f"The owner heard {end.is_lost} times of the connection's end"
    assert not connection.streams, "Calls outlive their connection"
    assert not getattr(connection, "held", 0), "Bytes are held for calls that are over"
    assert all(listener.is_closed for listener in end.listeners if listener.call.listener is listener)
    assert all(call.is_closed for call in end.calls), "A call is not told of the connection's end"
    assert not isinstance(end, ClientEnd) or end.over.issuperset(end.calls), "A call's end is not told"
    assert not conversation.loop.timers, "A timer outlives its call"


def _check_reports(conversation: Conversation) -> None:
    for report in conversation.loop.reported:
        error = report.get("exception")
        if not isinstance(error, InjectedError | OverflowError) and report["message"] != _DESTROYED:
            raise AssertionError(f"Reported to the loop: {report}") from error
    conversation.loop.reported.clear()


def _references() -> list[int]:
    """Of the buffers that are sent; Python itself shares the shortest."""
    return [sys.getrefcount(buffer) for buffer in BUFFERS if len(buffer) > 1]


def _check_exports() -> None:
    """A buffer that is still lent to somebody cannot be resized; raises BufferError."""
    for buffer in BUFFERS:
        if isinstance(buffer, bytearray) and buffer:
            buffer.append(buffer.pop())


def _check_calls(end: End, is_forgotten: bool) -> None:
    """Nothing but the application refers to a call that is over."""
    end.listeners.clear()
    for notes in (end.sent, end.ended, end.heard, end.over):
        notes.clear()
    calls, end.calls = end.calls, []
    if isinstance(end, ServerEnd):
        end.methods.clear()
    while calls and not is_forgotten:
        call = calls.pop()
        others = calls.count(call)
        assert sys.getrefcount(call) - others == 2, f"A call is still referred to: {gc.get_referrers(call)}"

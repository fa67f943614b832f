"""Objects of the extension types, fresh ones in each of the states that a caller can find them in."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from server.known_templates import ONE, Kept, request, rows
from transport.unit.line_in_memory import FIELDS, Line, Listener, Loop, Owner, Pipe

from yais.server.grpc.templates import RequestTemplate, RequestTemplateCache
from yais.transport.client_call import ClientCall
from yais.transport.client_connection import ClientConnection
from yais.transport.connection import Connection
from yais.transport.fields import Fields
from yais.transport.options import Settings
from yais.transport.scratch import Gather, Scratch
from yais.transport.server_call import Method, ServerCall
from yais.transport.server_connection import ServerConnection
from yais.transport.wire import Wire


def server_call(is_answered: bool = False, is_lost: bool = False, path: bytes = b"/a/b") -> ServerCall:
    line = Line()
    line.start(path, is_last=path == b"/a/b")
    (call,) = line.calls
    KEPT.append(line)
    if is_answered:
        call.respond(bytes(100_000))
    if is_lost:
        line.lose()
    return call


def client_call(is_answered: bool = False, is_lost: bool = False, is_waiting: bool = False) -> ClientCall:
    line = Line(max_concurrent_streams=1)
    KEPT.append(line)
    if is_waiting:
        line.start()
    call = line.start(body=bytes(300_000) if is_waiting else b"hello")
    if is_answered:
        line.calls[0].respond(b"answer")
        line.move()
    if is_lost:
        line.lose()
    return call


# The other ends of what is tried, so that they live as long.
KEPT: list[Line] = []


def connection(kind: str, is_lost: bool = False) -> Any:
    line = Line()
    KEPT.append(line)
    line.start()
    if is_lost:
        line.lose()
    return getattr(line, kind)


def kept() -> Kept:
    known = Kept(ONE)
    known.insert(request(rows(2)))
    return known


def layout(**changed: Any) -> Any:
    tensor = SimpleNamespace(name="A", position=0, nbytes=16)
    return SimpleNamespace(**{"rows": 2, "shapes": ((2, 2),), "inputs": [tensor]} | changed)


def template(**changed: Any) -> RequestTemplate:
    return RequestTemplate(kept().model, layout(**changed), ["O0"])


class Bare(ServerConnection):
    """Leaves out the constructor of its base, and does something else in its place."""

    def __init__(self, *_: Any) -> None: ...
    def flush(self) -> None: ...
    def resume_reading(self) -> None: ...
    def connection_lost(self, error: Exception | None) -> None: ...


SPECIMENS: dict[str, list[Callable[[], Any]]] = {
    "Fields": [lambda: Fields([(b"a", b"b")])],
    "Gather": [Gather],
    "Scratch": [Scratch],
    "Wire": [lambda: Wire(Loop()), lambda: Wire.__new__(Wire, Loop())],
    "Connection": [lambda: Connection(Loop(), Owner(), Settings()), lambda: connection("server")],
    "ServerConnection": [
        lambda: ServerConnection(Loop(), Owner(), Settings(), {}),
        lambda: ServerConnection.__new__(ServerConnection, Loop(), None, Settings(), {}),
        lambda: connection("server"),
        lambda: connection("server", is_lost=True),
        lambda: Bare(Loop(), Owner(), Settings(), {}),
        lambda: Line(Bare).server,
    ],
    "ClientConnection": [
        lambda: ClientConnection(Loop(), Owner(), Settings()),
        lambda: connection("client"),
        lambda: connection("client", is_lost=True),
    ],
    "Stream": [server_call, client_call],
    "ServerCall": [
        server_call,
        lambda: server_call(path=b"/s"),
        lambda: server_call(is_answered=True),
        lambda: server_call(is_lost=True),
    ],
    "ClientCall": [
        client_call,
        lambda: client_call(is_answered=True),
        lambda: client_call(is_lost=True),
        lambda: client_call(is_waiting=True),
    ],
    "Method": [lambda: Method(print), lambda: Method.__new__(Method)],
    "RequestTemplate": [template],
    "RequestTemplateCache": [
        lambda: kept().templates,
        lambda: RequestTemplateCache.__new__(RequestTemplateCache, None),
    ],
    "WireRequest": [lambda: kept().lookup(request(rows(2)))],
}

# An argument that will do, for each parameter by its name.
PLAUSIBLE: dict[str, Callable[[], Any]] = {
    "*arguments": lambda: b"x",
    "*buffers": lambda: b"hello",
    "arrived": lambda: 5,
    "begun_before": lambda: 1.0,
    "buffer": lambda: b"hello",
    "call": client_call,
    "callback": lambda: lambda *_: None,
    "code": lambda: 5,
    "data": lambda: b"12345678",
    "details": lambda: "details",
    "error": lambda: OSError(),
    "error_code": lambda: 8,
    "extra": lambda: [(b"a", b"b")],
    "fields": lambda: list(FIELDS),
    "function": lambda: lambda *_: None,
    "inputs": lambda: {"A": np.zeros((8, 2), np.float32)},
    "is_compressed": lambda: False,
    "is_last": lambda: True,
    "is_raw": lambda: False,
    "is_single": lambda: True,
    "layout": layout,
    "listener": lambda: Listener(lambda: None),
    "loop": Loop,
    "message": lambda: request(rows(2)).SerializeToString(),
    "method": lambda: kept().ends,
    "methods": lambda: {b"/a/b": Method(lambda *_: None)},
    "model": lambda: kept().model,
    "outputs": lambda: {"O0": np.zeros((8, 2), np.float32)},
    "owner": Owner,
    "pairs": lambda: [(b"a", b"b")],
    "reason": lambda: b"reason",
    "row": lambda: 0,
    "settings": Settings,
    "size": lambda: 9,
    "sizehint": lambda: -1,
    "stalled_sweeps": lambda: 2.0,
    "status": lambda: 1,
    "takes_stream": lambda: False,
    "trailing": lambda: [(b"a", b"b")],
    "transport": Pipe,
    "wanted": lambda: ["O0"],
}

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from yais.transport.listening import bind, port_of

TWO_ADDRESSES = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 2)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bind_with_the_second_address_taken(times: int, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> list[int]:
    """Binds port 0 of a name with two addresses, whose second one is taken for `times` ports; returns the ports tried.

    Raises what `bind` does.
    """
    tried: list[int] = []

    class Socket(socket.socket):
        def bind(self, address: Any) -> None:
            if address[0] == "127.0.0.2":
                tried.append(address[1])
                if len(tried) <= times:
                    raise OSError(errno.EADDRINUSE, "Address already in use")
            super().bind(address)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: TWO_ADDRESSES)
    monkeypatch.setattr(socket, "socket", Socket)
    sockets = bind("two:0", reuse_port=False)
    for sock in sockets:
        stack.enter_context(sock)
    assert [port_of(sock) for sock in sockets] == [tried[-1]] * 2
    return tried


def test_any_port_is_one_that_is_free_on_all_addresses(monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    assert len(bind_with_the_second_address_taken(3, monkeypatch, stack)) == 4


def test_the_search_for_a_port_has_an_end(monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    with pytest.raises(OSError, match="already in use"):
        bind_with_the_second_address_taken(1000, monkeypatch, stack)


def test_a_port_that_was_asked_for_is_not_exchanged(stack: ExitStack) -> None:
    taken = stack.enter_context(bind("127.0.0.1:0", reuse_port=False)[0])
    taken.listen()
    with pytest.raises(OSError, match="already in use"):
        bind(f"127.0.0.1:{port_of(taken)}", reuse_port=False)

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from yais.server.config import Config
from yais.server.listening import StartError, port_of, reserve, start_error_for

HOST = "127.0.0.1"


def at(port: int, host: str = HOST) -> Config:
    return Config(["m.onnx"], host=host, port=port, metrics=0)


@contextmanager
def reserved(port: int = 0) -> Iterator[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(sock) for sock in reserve(at(port))]
        yield port_of(sockets)


def test_a_port_that_is_reserved_can_be_listened_on_by_several() -> None:
    with (
        reserved() as port,
        socket.create_server((HOST, port), reuse_port=True),
        socket.create_server((HOST, port), reuse_port=True),
        socket.create_connection((HOST, port)),
    ):
        assert port > 0


def test_nobody_is_let_in_by_a_reservation() -> None:
    with reserved() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))


@pytest.mark.parametrize("shares", [False, True], ids=["alone", "shared"])
def test_a_port_that_somebody_has_cannot_be_reserved_even_if_he_would_share_it(shares: bool) -> None:
    with socket.create_server((HOST, 0), reuse_port=shares) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(StartError, match=f"^--port: cannot listen on {HOST}:{port}: .*in use"):
            reserve(at(port))


def test_a_port_that_workers_serve_on_cannot_be_reserved_again() -> None:
    with reserved() as port, socket.create_server((HOST, port), reuse_port=True):
        with pytest.raises(StartError, match="in use"):
            reserve(at(port))
        with pytest.raises(OSError, match="in use"):
            socket.create_server((HOST, port))


def test_a_port_of_choice_is_the_one_that_is_reserved() -> None:
    with reserved() as port:
        pass
    with reserved(port) as again:
        assert again == port


def test_a_name_with_several_addresses_has_one_port_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in (HOST, "127.0.0.2")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    sockets = reserve(at(0, "some.name"))
    assert {sock.getsockname() for sock in sockets} == {(HOST, port_of(sockets)), ("127.0.0.2", port_of(sockets))}
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "no..name", "label-" + 60 * "x"])
def test_a_host_that_is_not_here_is_a_failed_start_that_names_it(host: str) -> None:
    with pytest.raises(StartError, match=f"^--port: cannot listen on {host}:0: "):
        reserve(at(0, host))


@pytest.mark.parametrize("error", [OSError("taken"), RuntimeError("taken")])
def test_what_goes_wrong_with_a_port_is_told_with_its_flag(error: Exception) -> None:
    with (
        pytest.raises(StartError, match=r"^--metrics: cannot listen on \[::1\]:7: taken$"),
        start_error_for("--metrics", at(0, "::1"), 7),
    ):
        raise error

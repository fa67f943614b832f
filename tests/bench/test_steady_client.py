import socket
from collections.abc import Callable, Iterator
from threading import Thread

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from bench.measure import BenchError
from bench.transport.http2 import connected

METHOD = "/bench.Echo/Do"


class EchoServer:
    """One connection of h2's, with an answer of `reply` to each stream."""

    def __init__(self, reply: Callable[[int], bytes]) -> None:
        self.headers: list[dict[str, str]] = []
        self.bodies: dict[int, bytes] = {}
        self._reply = reply
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.thread = Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        self._listener.close()
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        with peer:
            peer.sendall(http.data_to_send())
            while received := peer.recv(65536):
                for event in http.receive_data(received):
                    self._take(http, event)
                peer.sendall(http.data_to_send())

    def _take(self, http: H2Connection, event: object) -> None:
        match event:
            case RequestReceived():
                self.headers.append(dict(event.headers))
            case DataReceived():
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            case StreamEnded():
                reply = self._reply(event.stream_id)
                http.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                http.send_data(event.stream_id, b"\0" + len(reply).to_bytes(4, "big") + reply)
                http.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)


# Starts a server with what its replies are, by their streams.
Serve = Callable[[Callable[[int], bytes]], EchoServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(reply: Callable[[int], bytes]) -> EchoServer:
        servers.append(EchoServer(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.thread.join(10)
        assert not server.thread.is_alive()


def test_all_calls_have_the_same_headers_and_message(serve: Serve) -> None:
    server = serve(lambda stream: b"answer")
    with connected(server.port, METHOD, b"question") as client:
        assert client.load(calls=6, window=3) == b"answer"
    assert list(server.bodies.values()) == [b"\0\0\0\0\x08question"] * 6
    assert server.headers == [server.headers[0]] * 6
    assert server.headers[0] == {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }


def test_answers_that_differ_are_refused(serve: Serve) -> None:
    server = serve(lambda stream: b"%d" % stream)
    with connected(server.port, METHOD, b"question") as client, pytest.raises(BenchError, match="2 different answers"):
        client.load(calls=2, window=2)

"""Fake server with metrics, which keeps all invariants until a test has it break one."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

import grpc
import uvloop
from google.protobuf.message import DecodeError, Message

from yais import transport
from yais.proto import grpc_service_pb2 as pb
from yais.proto.model_config_pb2 import ModelConfig

MODEL = "identity"
SERVICE = "inference.GRPCInferenceService"
SLOW_S = 1.5


class RefusalError(Exception):
    """An error that the fake answers with."""

    def __init__(self, code: grpc.StatusCode, text: str, *, is_counted: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.is_counted = is_counted


@dataclass
class Fake:
    """A server with at most one `defect` at a time."""

    name: str = "yais"
    defect: str = ""
    counts: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("success", "failure", "left", "files", "memory", "started"), 0.0)
    )
    lock: Any = field(default_factory=Lock)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    def count(self, what: str, by: float = 1) -> None:
        with self.lock:
            self.counts[what] += by

    def infer(self, call: transport.ServerCall, message: memoryview) -> None:
        try:
            request = checked(bytes(message), anything=self.defect == "answers anything")
            self.asked += 1
            self.do_wrong(request)
        except RefusalError as refusal:
            if refusal.is_counted and self.defect != "forgets refusals":
                self.count("success" if self.defect == "calls failures successes" else "failure")
            call.fail(refusal.code, str(refusal))
        else:
            delay = SLOW_S if self.defect == "is slow" else 0
            asyncio.get_running_loop().call_later(delay, self.succeed, call, request)

    def succeed(self, call: transport.ServerCall, request: pb.ModelInferRequest) -> None:
        self.count("success", 0 if self.defect == "forgets" and self.asked % 5 == 0 else 1)
        call.respond(answer(request))

    def do_wrong(self, request: pb.ModelInferRequest) -> None:
        match self.defect:
            case "counts twice":
                self.count("success")
            case "keeps requests":
                self.count("left")
            case "leaks files":
                self.count("files")
            case "leaks memory":
                self.count("memory", 2**24)
            case "restarts":
                self.counts["started"] = 1.0
            case "mixes up answers":
                request.id = "someone else's"
            case "loses every":
                raise RefusalError(grpc.StatusCode.INTERNAL, "it is lost")
            case "loses one" if request.id.endswith("0"):
                raise RefusalError(grpc.StatusCode.INTERNAL, "it is lost")
            case "dies":
                self.over.set()

    def handle(self, command: str, argument: str) -> None:
        match command:
            case "be":
                self.defect = argument
            case "heal":
                self.defect = ""
                self.counts |= dict.fromkeys(("left", "files", "memory"), 0.0)
            case _:
                self.count(command, float(argument))

    def metrics(self) -> str:
        if self.defect == "loses its page":
            raise ConnectionError
        counts = self.counts
        return f"""\
nv_inference_request_success{{model="{MODEL}",version="1"}} {counts["success"]}
nv_inference_request_failure{{model="{MODEL}",reason="OTHER",version="1"}} {counts["failure"]}
nv_inference_pending_request_count{{model="{MODEL}",version="1"}} {counts["left"]}
process_open_fds {10 + counts["files"]}
process_resident_memory_bytes {2**27 + counts["memory"]}
process_start_time_seconds {counts["started"]}
"""


def checked(body: bytes, *, anything: bool) -> pb.ModelInferRequest:
    """The request, if it is right. Raises RefusalError."""
    try:
        request = pb.ModelInferRequest.FromString(body)
    except DecodeError:
        raise RefusalError(grpc.StatusCode.INTERNAL, "no request") from None
    if request.model_name != MODEL or request.model_version not in ("", "1"):
        raise RefusalError(grpc.StatusCode.NOT_FOUND, "no such model")
    if not (anything or is_right(request)):
        raise RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "a wrong request", is_counted=True)
    return request


def is_right(request: pb.ModelInferRequest) -> bool:
    if len(request.inputs) != 1 or len(request.raw_input_contents) != 1 or request.parameters or request.outputs:
        return False
    (tensor,), (raw,) = request.inputs, request.raw_input_contents
    signature = (tensor.name, tensor.datatype, len(tensor.shape), bool(tensor.parameters))
    return signature == ("INPUT0", "FP32", 1, False) and len(raw) == 4 * tensor.shape[0]


def answer(request: pb.ModelInferRequest) -> bytes:
    response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    response.outputs.add(name="OUTPUT0", datatype="FP32", shape=[4])
    response.raw_output_contents.extend(request.raw_input_contents)
    return response.SerializeToString()


async def serve(fake: Fake) -> None:
    """Serves until it is killed; stdin has commands for the fake."""
    server = transport.server(options=(("grpc.max_receive_message_length", -1),))
    for method, answer in _metadata(fake).items():
        server.add_raw_method(f"/{SERVICE}/{method}", partial(_respond, answer.SerializeToString()))
    server.add_raw_method(f"/{SERVICE}/ModelInfer", fake.infer)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with _serving_metrics(fake) as metrics_port:
        print(port, metrics_port, flush=True)
        commands = asyncio.create_task(asyncio.to_thread(_handle_commands, fake))
        await fake.over.wait()
        await server.stop(0)
        await commands


def _handle_commands(fake: Fake) -> None:
    for line in sys.stdin:
        command, _, argument = line.rstrip("\n").partition(" ")
        fake.handle(command, argument)
        print("done", flush=True)


def _respond(answer: bytes, call: transport.ServerCall, message: memoryview) -> None:
    call.respond(answer)


def _metadata(fake: Fake) -> dict[str, Message]:
    """The answers about the server and its model."""
    model = pb.ModelMetadataResponse(name=MODEL, versions=["1"], platform="fake")
    model.inputs.add(name="INPUT0", datatype="FP32", shape=[-1])
    model.outputs.add(name="OUTPUT0", datatype="FP32", shape=[-1])
    return {
        "ServerMetadata": pb.ServerMetadataResponse(name=fake.name, version="1"),
        "ModelMetadata": model,
        "ModelConfig": pb.ModelConfigResponse(config=ModelConfig(name=MODEL)),
        "ModelStatistics": pb.ModelStatisticsResponse(model_stats=[pb.ModelStatistics(name=MODEL, version="1")]),
    }


@contextmanager
def _serving_metrics(fake: Fake) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                body = fake.metrics().encode()
            except ConnectionError:
                self.send_error(500)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    uvloop.run(serve(Fake(sys.argv[1])))

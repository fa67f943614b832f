"""Requests whose input lies in memory that client and server share: as Triton's extension of the protocol has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import grpc

from bench.measure import BenchError, NotInstalledError, Subject
from bench.service.questions import Question
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

_REGION = "pictures"


@contextmanager
def in_shared_memory(server: Subject, question: Question) -> Iterator[Question]:
    """The same question, with the elements of its only input put into a region that the server is told of.

    Raises `NotInstalledError` where the server takes none.
    """
    request = pb.ModelInferRequest.FromString(question.message)
    (elements,) = request.raw_input_contents
    memory = SharedMemory(create=True, size=len(elements))
    assert memory.buf is not None
    memory.buf[: len(elements)] = elements
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, _registered(channel, memory, len(elements)):
            yield replace(question, message=_referring(request, len(elements)))
    finally:
        memory.close()
        memory.unlink()


@contextmanager
def _registered(channel: grpc.Channel, memory: SharedMemory, size: int) -> Iterator[None]:
    stub: Any = GRPCInferenceServiceStub(channel)
    try:
        stub.SystemSharedMemoryRegister(
            pb.SystemSharedMemoryRegisterRequest(name=_REGION, key=f"/{memory.name.lstrip('/')}", byte_size=size)
        )
    except grpc.RpcError as error:
        status: Any = error
        if status.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise NotInstalledError("the server takes no inputs in shared memory") from error
        raise BenchError(f"the server does not take shared memory: {status.details()}") from error
    yield
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name=_REGION))


def _referring(request: pb.ModelInferRequest, size: int) -> bytes:
    del request.raw_input_contents[:]
    parameters = request.inputs[0].parameters
    parameters["shared_memory_region"].string_param = _REGION
    parameters["shared_memory_byte_size"].int64_param = size
    return request.SerializeToString()

"""Shared memory with the inputs, which the server reads instead of receiving them.

Source: Triton's "Shared-Memory Extension" of the inference protocol.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import click
import grpc

from yais.clients.channel import channel_options
from yais.clients.protocol import InferenceError, from_rpc
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

_SHM = Path("/dev/shm")
# Bytes: a cache line, so that no two tensors share one.
_ALIGNMENT = 64


@contextmanager
def share_inputs(target: str, requests: Sequence[pb.ModelInferRequest], timeout: float) -> Iterator[None]:
    """Moves what `requests` contain to a region that the server knows for as long as this lasts.

    Raises InferenceError when the server does not take it, and click's usage error when there is no room. Python's
    resource tracker removes the region even when the process is killed.
    """
    size = sum(_aligned(len(raw)) for request in requests for raw in request.raw_input_contents)
    free = shutil.disk_usage(_SHM).free
    if size > free:
        # To write past the end of the device would kill the process by a signal.
        raise click.UsageError(f"--shared-memory: the inputs take {size} bytes, and {_SHM} has {free} left")
    memory = SharedMemory(create=True, size=max(size, 1))
    try:
        _move(requests, memory)
        with _registered(target, memory, timeout):
            yield
    finally:
        memory.close()
        memory.unlink()


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _move(requests: Sequence[pb.ModelInferRequest], memory: SharedMemory) -> None:
    assert memory.buf is not None  # Only a closed one has none.
    offset = 0
    for request in requests:
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            memory.buf[offset : offset + len(raw)] = raw
            tensor.parameters["shared_memory_region"].string_param = memory.name
            tensor.parameters["shared_memory_offset"].int64_param = offset
            tensor.parameters["shared_memory_byte_size"].int64_param = len(raw)
            offset += _aligned(len(raw))
        request.ClearField("raw_input_contents")


@contextmanager
def _registered(target: str, memory: SharedMemory, timeout: float) -> Iterator[None]:
    # The key is what shm_open() takes; Python leaves its slash out of the name.
    request = pb.SystemSharedMemoryRegisterRequest(name=memory.name, key=f"/{memory.name}", byte_size=memory.size)
    try:
        try:
            _send(target, "SystemSharedMemoryRegister", request, timeout)
        except InferenceError as error:
            reason = f"--shared-memory needs a server on this machine that takes regions of it: {error.details}"
            raise InferenceError(error.code, reason) from error
        yield
    finally:
        # The end of a run is not lost over a server that has gone by now.
        removal = pb.SystemSharedMemoryUnregisterRequest(name=memory.name)
        try:
            _send(target, "SystemSharedMemoryUnregister", removal, timeout)
        except InferenceError as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                click.echo(f"warning: {target}: region {memory.name} may still be registered: {error}", err=True)


def _send(
    target: str,
    rpc: str,
    request: pb.SystemSharedMemoryRegisterRequest | pb.SystemSharedMemoryUnregisterRequest,
    timeout: float,
) -> None:
    # A channel of its own, closed at once: its threads are not to live beside the load, nor to be forked.
    with grpc.insecure_channel(target, channel_options()) as channel:
        try:
            getattr(GRPCInferenceServiceStub(channel), rpc)(request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc(error) from error

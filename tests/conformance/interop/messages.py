"""interop.proto's messages and services, as grpcio-tools generates them, and bodies that they carry."""

import random
from typing import Any

import grpc

messages, services = grpc.protos_and_services("conformance/interop/interop.proto")


def zeros(size: int) -> Any:
    return messages.Payload(body=bytes(size))


def noise(size: int) -> Any:
    """What no compression makes any smaller."""
    return messages.Payload(body=random.Random(size).randbytes(size))


def asked(value: bool) -> Any:
    """A BoolValue, which unlike a field without one has been set."""
    return messages.BoolValue(value=value)

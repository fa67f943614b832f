"""probe.proto's messages and its service, as grpcio-tools generates them."""

from typing import Any

import grpc

messages, services = grpc.protos_and_services("transport/api/probe.proto")

SERVICE = "/yais.test.Probe"


def note(text: str = "", size: int = 0) -> Any:
    """A message with a body of `size` zeros."""
    return messages.Note(text=text, body=bytes(size))


def notes(*texts: str) -> list[Any]:
    return [note(text) for text in texts]

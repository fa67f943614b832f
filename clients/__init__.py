"""Clients of the inference protocol: a small library, numpy in and out, and what the commands are made of."""

from yais.clients.aio import AsyncClient
from yais.clients.client import Client
from yais.clients.protocol import InferenceError, ModelMetadata, ServerMetadata, TensorMetadata

__all__ = ["AsyncClient", "Client", "InferenceError", "ModelMetadata", "ServerMetadata", "TensorMetadata"]

"""Clients of the inference protocol: a small library, numpy in and out, and what the commands are made of."""

from yais.clients.async_client import AsyncClient
from yais.clients.errors import InferenceError
from yais.clients.messages import ModelMetadata, ServerMetadata, TensorMetadata
from yais.clients.sync_client import Client

__all__ = ["AsyncClient", "Client", "InferenceError", "ModelMetadata", "ServerMetadata", "TensorMetadata"]

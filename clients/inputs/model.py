"""A model, as the server describes it."""

from dataclasses import dataclass

import click
import grpc

from yais.clients.errors import InferenceError
from yais.clients.messages import ModelMetadata
from yais.clients.sync_client import Client


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model; an empty `version` is the newest."""

    metadata: ModelMetadata
    version: str
    is_batched: bool

    @property
    def name(self) -> str:
        return self.metadata.name

    def __str__(self) -> str:
        inputs, outputs = (", ".join(map(str, tensors)) for tensors in (self.metadata.inputs, self.metadata.outputs))
        return f"{self.name}: {inputs} -> {outputs}"


def find_name(client: Client, timeout: float) -> str:
    """The name of the only model there is."""
    names = sorted({statistics.name for statistics in client.model_statistics(timeout=timeout)})
    if not names:
        raise InferenceError(grpc.StatusCode.NOT_FOUND, "the server has no model")
    if len(names) > 1:
        raise click.UsageError(f"--model must name one of the server's models: {', '.join(names)}")
    return names[0]


def describe(client: Client, name: str, version: str, timeout: float) -> Model:
    """Asks the server. Raises InferenceError."""
    metadata = client.model_metadata(name, version, timeout=timeout)
    try:
        config = client.model_config(name, version, timeout=timeout)
    except InferenceError as error:
        if error.code is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        # ModelConfig is Triton's extension; elsewhere the shapes are all there is to go by.
        is_batched = all(len(tensor.shape) > 1 and tensor.shape[0] == -1 for tensor in metadata.inputs)
        return Model(metadata, version, is_batched)
    return Model(metadata, version, config.max_batch_size > 0)

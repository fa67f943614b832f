"""What the commands send: the model and its inputs, found out from the options and the server."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import click
import grpc
import numpy as np

from yais.clients import pictures
from yais.clients.errors import InferenceError
from yais.clients.messages import Array, Arrays, ModelMetadata, TensorMetadata, infer_request
from yais.clients.options import Common, Filling
from yais.clients.sync_client import Client
from yais.proto.grpc_service_pb2 import ModelInferRequest
from yais.proto.tensors import DTYPES

_FREE_DIMENSION = 16
_LETTERS = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """One request, to be sent many times."""

    metadata: ModelMetadata
    version: str
    inputs: Arrays

    @property
    def model(self) -> str:
        return self.metadata.name

    def request(self) -> ModelInferRequest:
        """Raises ValueError, naming the input, for what the protocol cannot carry."""
        return infer_request(self.model, self.inputs, self.version)

    def __str__(self) -> str:
        inputs, outputs = (", ".join(map(str, tensors)) for tensors in (self.metadata.inputs, self.metadata.outputs))
        return f"{self.model}: {inputs} -> {outputs}"


def prepare(options: Common) -> Workload:
    """Asks the server what the options leave open.

    Raises InferenceError when it does not answer, and click's usage errors for options that do not fit the model.
    """
    with Client(options.target) as client:
        model = options.model or find_model(client, options.timeout)
        metadata = client.model_metadata(model, options.model_version, timeout=options.timeout)
        if options.npz:
            return Workload(metadata, options.model_version, load(options.npz))
        rows = _rows(client, metadata, options)
    if options.picture:
        return Workload(metadata, options.model_version, from_picture(metadata, rows, options))
    return Workload(metadata, options.model_version, generate(metadata, rows, options))


def find_model(client: Client, timeout: float) -> str:
    """The name of the only model there is."""
    names = sorted({statistics.name for statistics in client.model_statistics(timeout=timeout)})
    if not names:
        raise InferenceError(grpc.StatusCode.NOT_FOUND, "the server has no model")
    if len(names) > 1:
        raise click.UsageError(f"--model must name one of the server's models: {', '.join(names)}")
    return names[0]


def load(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise click.BadParameter(f"{path} is no .npz file", param_hint="--npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise click.BadParameter(f"{path} cannot be read: {error}", param_hint="--npz") from error


def from_picture(metadata: ModelMetadata, rows: int | None, options: Common) -> Arrays:
    if len(metadata.inputs) != 1 or options.picture is None:
        raise click.UsageError(f"--picture: {metadata.name} has {len(metadata.inputs)} inputs, not one")
    (tensor,) = metadata.inputs
    try:
        picture = pictures.fit(options.picture, tensor, options.scaling)
    except pictures.PictureError as error:
        raise click.UsageError(f"--picture: {error}") from error
    leading = (rows or 1,) if len(tensor.shape) == 4 else ()
    return {tensor.name: np.broadcast_to(picture, (*leading, *picture.shape))}


def generate(metadata: ModelMetadata, rows: int | None, options: Common) -> Arrays:
    unknown = options.shape.keys() - {tensor.name for tensor in metadata.inputs}
    if unknown:
        names = ", ".join(tensor.name for tensor in metadata.inputs)
        raise click.UsageError(f"--shape {min(unknown)}: the inputs of {metadata.name} are {names}")
    random = np.random.default_rng(options.seed)
    return {
        tensor.name: fill(tensor.datatype, _shape(tensor, rows, options.shape.get(tensor.name)), options.inputs, random)
        for tensor in metadata.inputs
    }


def fill(datatype: str, shape: tuple[int, ...], filling: Filling, random: np.random.Generator) -> Array:
    if datatype not in DTYPES:
        raise click.UsageError(f"no inputs can be generated for datatype {datatype}")
    dtype = DTYPES[datatype]
    if filling == "zeros":
        return np.full(shape, b"", dtype) if datatype == "BYTES" else np.zeros(shape, dtype)
    if datatype == "BYTES":
        letters = random.integers(ord("a"), ord("z") + 1, (*shape, _LETTERS), np.uint8)
        return letters.view(f"S{_LETTERS}").reshape(shape).astype(dtype)
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return random.integers(0, 256 if datatype == "UINT8" else 128, shape).astype(dtype)
    return random.random(shape, np.float32).astype(dtype)


def _rows(client: Client, metadata: ModelMetadata, options: Common) -> int | None:
    """The rows of a request; None for a model without a batch dimension."""
    if _is_batched(client, metadata, options):
        return options.batch or 1
    if options.batch is not None:
        raise click.UsageError(f"--batch: {metadata.name} has no batch dimension (max_batch_size 0)")
    return None


def _is_batched(client: Client, metadata: ModelMetadata, options: Common) -> bool:
    try:
        config = client.model_config(metadata.name, options.model_version, timeout=options.timeout)
    except InferenceError as error:
        if error.code is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        # ModelConfig is Triton's extension; elsewhere the shapes are all there is to go by.
        return all(len(tensor.shape) > 1 and tensor.shape[0] == -1 for tensor in metadata.inputs)
    return config.max_batch_size > 0


def _shape(tensor: TensorMetadata, rows: int | None, asked: tuple[int, ...] | None) -> tuple[int, ...]:
    leading, dimensions = ((rows,), tensor.shape[1:]) if rows is not None else ((), tensor.shape)
    if asked is None:
        return (*leading, *(_FREE_DIMENSION if dimension == -1 else dimension for dimension in dimensions))
    if len(asked) != len(dimensions) or any(
        have not in (-1, want) for have, want in zip(dimensions, asked, strict=True)
    ):
        raise click.UsageError(f"--shape: a row of {tensor.name} is {list(dimensions)}, not {list(asked)}")
    return (*leading, *asked)

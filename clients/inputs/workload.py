"""Workload of a command: the model and its inputs, found out from the options and the server."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Generic, TypeVar

import click
import grpc
import numpy as np

from yais.clients.client import Client
from yais.clients.inputs import images
from yais.clients.inputs.files import MemoryLimit, list_files, load_json, load_npz
from yais.clients.inputs.generated import generate_inputs
from yais.clients.inputs.names import did_you_mean
from yais.clients.options import CommonOptions
from yais.clients.protocol import Arrays, InferenceError, ModelMetadata, infer_request
from yais.proto.grpc_service_pb2 import ModelInferRequest

T = TypeVar("T")

# Numbers drawn by one call: each call costs some microseconds, whatever it draws.
_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class ServedModel:
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


@dataclass(frozen=True, slots=True)
class WeightedChoice(Generic[T]):
    """Things that take turns, and the weight by which they are drawn beside those of other choices."""

    weight: float
    items: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests to one model, to be sent many times."""

    served: ServedModel
    choices: tuple[WeightedChoice[Arrays], ...]
    seed: int

    @property
    def model(self) -> str:
        return self.served.name

    @property
    def version(self) -> str:
        return self.served.version

    @property
    def inputs(self) -> Arrays:
        """Those of the first request."""
        return self.choices[0].items[0]

    def draw(self) -> Iterator[Arrays]:
        """The inputs of one request after the other, without end; the seed decides about them."""
        return draw(self.choices, self.seed)

    def request(self, inputs: Arrays | None = None) -> ModelInferRequest:
        """That of `inputs`, by default the first one.

        Raises ValueError, naming the input, for what the protocol cannot carry.
        """
        return infer_request(self.model, self.inputs if inputs is None else inputs, self.version)

    def __str__(self) -> str:
        return str(self.served)


def prepare(options: CommonOptions) -> Workload:
    """Asks the server what the options leave open.

    Raises InferenceError when it does not answer, and click's usage errors for options that do not fit the model.
    """
    with Client(options.target) as client:
        name = options.model or find_name(client, options.timeout)
        model = describe(client, name, options.model_version, options.timeout)
    return Workload(model, find_inputs(model, options), options.seed)


def announce(options: CommonOptions) -> Workload:
    """Says what will be called. Exits with 1 when the server does not answer, with 2 for options that do not fit it."""
    with report_errors(options.target):
        workload = prepare(options)
        # Made once before anything is sent, so that what the protocol cannot carry is an error of usage.
        for choice in workload.choices:
            for inputs in choice.items:
                workload.request(inputs)
    click.echo(f"{options.target} {workload}")
    return workload


@contextmanager
def report_errors(target: str) -> Iterator[None]:
    """Errors as a command ends with them: 1 for a server that does not answer, 2 for what cannot be sent."""
    try:
        yield
    except InferenceError as error:
        raise click.ClickException(f"{target}: {error}") from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def find_name(client: Client, timeout: float) -> str:
    """The name of the only model there is."""
    names = sorted({statistics.name for statistics in client.model_statistics(timeout=timeout)})
    if not names:
        raise InferenceError(grpc.StatusCode.NOT_FOUND, "the server has no model")
    if len(names) > 1:
        raise click.UsageError(f"--model must name one of the server's models: {', '.join(names)}")
    return names[0]


def describe(client: Client, name: str, version: str, timeout: float) -> ServedModel:
    """Asks the server. Raises InferenceError, which names the models that there are where this one is unknown."""
    try:
        metadata = client.model_metadata(name, version, timeout=timeout)
    except InferenceError as error:
        if error.code is grpc.StatusCode.NOT_FOUND and (hint := _known_models(client, name, timeout)):
            raise InferenceError(error.code, f"{error.details}{hint}") from error
        raise
    try:
        config = client.model_config(name, version, timeout=timeout)
    except InferenceError as error:
        if error.code is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        # ModelConfig is Triton's extension; elsewhere the shapes are all there is to go by.
        is_batched = all(len(tensor.shape) > 1 and tensor.shape[0] == -1 for tensor in metadata.inputs)
        return ServedModel(metadata, version, is_batched)
    return ServedModel(metadata, version, config.max_batch_size > 0)


def find_inputs(model: ServedModel, options: CommonOptions) -> tuple[WeightedChoice[Arrays], ...]:
    """A choice for each batch size. Raises click's usage errors for options that do not fit the model."""
    if options.picture:
        return _images(model, options)
    if options.npz or options.json:
        return (WeightedChoice(1.0, _files(model, options)),)
    random, memory = np.random.default_rng(options.seed), MemoryLimit("--batch")
    choices = []
    for size, weight in _batch_sizes(model, options):
        inputs = generate_inputs(model.metadata, size, options.shape, options.inputs, random)
        choices.append(WeightedChoice(weight, (memory.keep(inputs),)))
    return tuple(choices)


def draw(choices: Sequence[WeightedChoice[T]], *seed: int) -> Iterator[T]:
    """Without end: a choice by its weight, and of that choice whose turn it is; the seed decides all of it.

    Of a single choice nothing is left to be drawn. One costs some 0.2 us.
    """
    if len(choices) == 1:
        return cycle(choices[0].items)
    return _draw_by_weight([cycle(choice.items) for choice in choices], [choice.weight for choice in choices], seed)


def _known_models(client: Client, name: str, timeout: float) -> str:
    """Empty where the server does not list its models, or has this one in another version."""
    try:
        known = sorted({statistics.name for statistics in client.model_statistics(timeout=timeout)})
    except InferenceError:
        return ""
    if not known or name in known:
        return ""
    return f"; the server has {', '.join(known)}{did_you_mean(name, known)}"


def _check_names(model: ServedModel, inputs: Arrays) -> Arrays:
    known = [tensor.name for tensor in model.metadata.inputs]
    for name in inputs:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"{name!r} is not an input of {model.name}, which has {', '.join(known)}{hint}")
    return inputs


def _files(model: ServedModel, options: CommonOptions) -> tuple[Arrays, ...]:
    # Options see to it that there is only one kind of file.
    (option,) = options.files
    memory = MemoryLimit(option)
    try:
        if options.json:
            return tuple(memory.keep(_check_names(model, inputs)) for inputs in load_json(options.json))
        files = list_files(options.npz, (".npz",)) if options.npz else []
        if not files:
            raise ValueError(f"{options.npz} holds no .npz files")
        return tuple(memory.keep(_check_names(model, load_npz(file))) for file in files)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _images(model: ServedModel, options: CommonOptions) -> tuple[WeightedChoice[Arrays], ...]:
    if len(model.metadata.inputs) != 1 or options.picture is None:
        raise click.UsageError(f"--picture: {model.name} has {len(model.metadata.inputs)} inputs, not one")
    (tensor,) = model.metadata.inputs
    rows = _batch_sizes(model, options)
    try:
        fitted = images.fit_images(options.picture, tensor, options.scaling)
    except images.ImageError as error:
        raise click.UsageError(f"--picture: {error}") from error
    if len(tensor.shape) == 3:
        return (WeightedChoice(1.0, tuple({tensor.name: picture} for picture in fitted)),)
    memory = MemoryLimit("--picture")
    choices = []
    for size, weight in rows:
        size = size or 1
        # Batches in which the pictures take turns, as few as hold each of them once.
        batches = (
            np.stack([fitted[row % len(fitted)] for row in range(first, first + size)])
            for first in range(0, len(fitted), size)
        )
        choices.append(WeightedChoice(weight, tuple(memory.keep({tensor.name: batch}) for batch in batches)))
    return tuple(choices)


def _batch_sizes(model: ServedModel, options: CommonOptions) -> list[tuple[int | None, float]]:
    """The rows of a request, by weight; None for a model without a batch dimension."""
    if model.is_batched:
        return list(options.batch.items()) if options.batch else [(1, 1.0)]
    if options.batch is not None:
        raise click.UsageError(f"--batch: {model.name} has no batch dimension (max_batch_size 0)")
    return [(None, 1.0)]


def _draw_by_weight(turns: Sequence[Iterator[T]], weights: Sequence[float], seed: tuple[int, ...]) -> Iterator[T]:
    random = np.random.default_rng(seed)
    # The last bound is above every draw, whatever rounding made of the sum.
    bounds = np.cumsum(weights)[:-1] / sum(weights)
    while True:
        for index in np.searchsorted(bounds, random.random(_AT_ONCE), side="right").tolist():
            yield next(turns[index])

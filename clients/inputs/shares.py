"""The inputs of all the requests that the options ask for, prepared once."""

from collections.abc import Iterator, Sequence

import click
import numpy as np

from yais.clients import pictures
from yais.clients.inputs.arrays import load_npz
from yais.clients.inputs.draws import Share
from yais.clients.inputs.folders import list_files
from yais.clients.inputs.generated import generate
from yais.clients.inputs.kserve_json import load_json
from yais.clients.inputs.memory import Memory
from yais.clients.inputs.model import Model
from yais.clients.messages import Array, Arrays
from yais.clients.options import Common


def find_shares(model: Model, options: Common) -> tuple[Share[Arrays], ...]:
    """A share for each batch size. Raises click's usage errors for options that do not fit the model."""
    if options.npz or options.json:
        return (Share(1.0, _from_file(options)),)
    return _from_pictures(model, options) if options.picture else _generated(model, options)


def _from_file(options: Common) -> tuple[Arrays, ...]:
    (option,) = options.files
    memory = Memory(option)
    try:
        if options.json:
            return tuple(map(memory.keep, load_json(options.json)))
        files = list_files(options.npz, (".npz",)) if options.npz else []
        if not files:
            raise ValueError(f"{options.npz} holds no .npz files")
        return tuple(memory.keep(load_npz(file)) for file in files)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _from_pictures(model: Model, options: Common) -> tuple[Share[Arrays], ...]:
    if len(model.metadata.inputs) != 1 or options.picture is None:
        raise click.UsageError(f"--picture: {model.name} has {len(model.metadata.inputs)} inputs, not one")
    (tensor,) = model.metadata.inputs
    rows = _rows(model, options)
    try:
        fitted = pictures.fit_all(options.picture, tensor, options.scaling)
    except pictures.PictureError as error:
        raise click.UsageError(f"--picture: {error}") from error
    if len(tensor.shape) == 3:
        return (Share(1.0, tuple({tensor.name: picture} for picture in fitted)),)
    memory = Memory("--picture")
    return tuple(
        Share(weight, tuple(memory.keep({tensor.name: batch}) for batch in _batches(fitted, size or 1)))
        for size, weight in rows
    )


def _batches(fitted: Sequence[Array], size: int) -> Iterator[Array]:
    """Batches in which the pictures take turns, as few as hold each of them once."""
    for first in range(0, len(fitted), size):
        yield np.stack([fitted[row % len(fitted)] for row in range(first, first + size)])


def _generated(model: Model, options: Common) -> tuple[Share[Arrays], ...]:
    random = np.random.default_rng(options.seed)
    memory = Memory("--batch")
    return tuple(
        Share(weight, (memory.keep(generate(model.metadata, size, options.shape, options.inputs, random)),))
        for size, weight in _rows(model, options)
    )


def _rows(model: Model, options: Common) -> list[tuple[int | None, float]]:
    """The rows of a request, by weight; None for a model without a batch dimension."""
    if model.is_batched:
        return list(options.batch.items()) if options.batch else [(1, 1.0)]
    if options.batch is not None:
        raise click.UsageError(f"--batch: {model.name} has no batch dimension (max_batch_size 0)")
    return [(None, 1.0)]

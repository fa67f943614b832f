"""Several models at a time: `--mix mlp=3,identity:2=1`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import click

from yais.clients.client import Client
from yais.clients.inputs.generated import parse_weights
from yais.clients.inputs.workload import Model, Workload, describe, find_inputs
from yais.clients.options import CommonOptions


@dataclass(frozen=True, slots=True)
class Part:
    """One model of a mix; `label` is how the option wrote it, an empty `version` is the newest."""

    label: str
    model: str
    version: str
    weight: float


Mix = tuple[Part, ...]


def parse_mix(text: str) -> Mix:
    """Raises ValueError, naming the part that is no NAME=WEIGHT or NAME:VERSION=WEIGHT."""
    return tuple(Part(label, *_split(label), weight) for label, weight in parse_weights(text, "=").items())


def _split(label: str) -> tuple[str, str]:
    # Versions are numbers; any other colon belongs to the name.
    name, _, version = label.rpartition(":")
    return (name, version) if name and version.isdecimal() else (label, "")


def prepare_mix(mix: Mix, options: CommonOptions) -> list[Workload]:
    """What is sent to each of the models; raises as `workload.prepare` does.

    --batch holds for the models that have a batch dimension, and --shape for those that have the input.
    """
    with Client(options.target) as client:
        models = [describe(client, part.model, part.version, options.timeout) for part in mix]
    _check(models, options)
    return [Workload(model, find_inputs(model, _own(model, options)), options.seed) for model in models]


def _check(models: Sequence[Model], options: CommonOptions) -> None:
    if options.batch and not any(model.is_batched for model in models):
        raise click.UsageError("--batch: no model of --mix has a batch dimension (max_batch_size 0)")
    unknown = options.shape.keys() - {name for model in models for name in _inputs(model)}
    if unknown:
        raise click.UsageError(f"--shape {min(unknown)}: no model of --mix has this input")


def _own(model: Model, options: CommonOptions) -> CommonOptions:
    shapes = {name: shape for name, shape in options.shape.items() if name in _inputs(model)}
    return replace(options, batch=options.batch if model.is_batched else None, shape=shapes)


def _inputs(model: Model) -> set[str]:
    return {tensor.name for tensor in model.metadata.inputs}

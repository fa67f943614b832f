"""Requests of siege: the options, the mix of models, and the bytes on the wire, one after the other."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
import grpc

from yais.clients.channel import channel_options, parse_target
from yais.clients.client import Client
from yais.clients.command import option_group
from yais.clients.inputs.files import list_files
from yais.clients.inputs.generated import parse_weights
from yais.clients.inputs.names import did_you_mean
from yais.clients.inputs.workload import (
    ServedModel,
    WeightedChoice,
    Workload,
    describe,
    draw,
    find_inputs,
    prepare,
    report_errors,
)
from yais.clients.options import FILE, FILE_OR_FOLDER, CommonOptions, Number, Parsed, allow_one_of, take_fields
from yais.clients.outputs import OutputFile, write_error
from yais.clients.protocol import MODEL_INFER, Arrays, from_rpc
from yais.clients.siege import golden
from yais.clients.siege.golden import Golden, Read, Tolerance
from yais.clients.siege.shared_memory import share_inputs
from yais.proto.grpc_service_pb2 import ModelInferRequest


class Requests:
    """An endless row of requests to `method`, drawn from `choices` of them by a seed.

    A request is the index of its kind, of which `kinds` has the names, and its bytes. `next()` gives the next one.
    """

    def __init__(
        self, method: str, kinds: tuple[str, ...], choices: Sequence[WeightedChoice[tuple[int, bytes]]], *seed: int
    ) -> None:
        self.method = method
        self.kinds = kinds
        self._choices = tuple(choices)
        self._seed = seed
        # Not a method around it: a call of Python's would cost as much again.
        self.next: Callable[[], tuple[int, bytes]] = draw(self._choices, *seed).__next__

    def for_process(self, index: int) -> "Requests":
        """The same requests, drawn in an order of its own for each of several processes."""
        # numpy seeds from all of these numbers, so that the processes' draws are independent of each other.
        return Requests(self.method, self.kinds, self._choices, *self._seed, index)

    @property
    def named(self) -> dict[str, bytes]:
        """Every request there is, named after its kind and its place among that kind's: `mlp/3`."""
        requests: dict[str, bytes] = {}
        counts = [0] * len(self.kinds)
        for kind, request in (turn for choice in self._choices for turn in choice.items):
            requests[f"{self.kinds[kind]}/{counts[kind]}"] = request
            counts[kind] += 1
        return requests

    def __reduce__(self) -> tuple[Any, ...]:
        # The iterator cannot be pickled; another process begins it anew from the same seed.
        return Requests, (self.method, self.kinds, self._choices, *self._seed)


@dataclass(frozen=True, slots=True)
class MixEntry:
    """One model of a mix; `label` is how the option wrote it, an empty `version` is the newest."""

    label: str
    model: str
    version: str
    weight: float


Mix = tuple[MixEntry, ...]


def parse_mix(text: str) -> Mix:
    """Raises ValueError, naming the part that is no NAME=WEIGHT or NAME:VERSION=WEIGHT."""
    entries = []
    for label, weight in parse_weights(text, "=").items():
        # Versions are numbers; any other colon belongs to the name.
        name, _, version = label.rpartition(":")
        is_versioned = bool(name) and version.isdecimal()
        entries.append(MixEntry(label, name if is_versioned else label, version if is_versioned else "", weight))
    return tuple(entries)


def prepare_mix(mix: Mix, options: CommonOptions) -> list[Workload]:
    """What is sent to each of the models; raises as `workload.prepare` does.

    --batch holds for the models that have a batch dimension, and --shape for those that have the input.
    """
    with Client(options.target) as client:
        models = [describe(client, part.model, part.version, options.timeout) for part in mix]
    if options.batch and not any(model.is_batched for model in models):
        raise click.UsageError("--batch: no model of --mix has a batch dimension (max_batch_size 0)")
    unknown = options.shape.keys() - {name for model in models for name in _input_names(model)}
    if unknown:
        # A set has no order; min() makes the message the same in every run.
        hint = did_you_mean(min(unknown), [name for model in models for name in _input_names(model)])
        raise click.UsageError(f"--shape {min(unknown)}: no model of --mix has this input{hint}")
    workloads = []
    for model in models:
        shapes = {name: shape for name, shape in options.shape.items() if name in _input_names(model)}
        own = replace(options, batch=options.batch if model.is_batched else None, shape=shapes)
        workloads.append(Workload(model, find_inputs(model, own), options.seed))
    return workloads


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What siege sends beyond `CommonOptions`, and what it compares the answers with; the fields are the options."""

    mix: Mix
    method: str
    message: tuple[Path, ...]
    shared_memory: bool
    check: Path | None
    write_golden: Path | None
    rtol: float
    atol: float


def _parse_method(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    if value is None:
        return ""
    # The slash in front may be left out, as with grpcurl.
    if not re.fullmatch(r"/?[\w.]+/\w+", value):
        raise click.BadParameter(f"{value!r} is not /package.Service/Method")
    return f"/{value.lstrip('/')}"


_input_option = option_group("Model and inputs")
_golden_option = option_group("Right answers")

_OPTIONS = (
    _input_option(
        "--mix",
        type=Parsed("mix", parse_mix),
        default=(),
        metavar="NAME[:VERSION]=WEIGHT,...",
        help="Several models to call, each with inputs of its own, drawn by weight: mlp=3,identity=1.",
    ),
    _input_option(
        "--method",
        callback=_parse_method,
        metavar="/package.Service/Method",
        help="Any unary method to call instead of ModelInfer; the server is asked for nothing else.",
    ),
    _input_option(
        "--message",
        type=FILE_OR_FOLDER,
        multiple=True,
        help="File of a message for --method, sent as it is; several, or those of a folder, take turns; by default an "
        "empty message.",
    ),
    _input_option(
        "--shared-memory",
        is_flag=True,
        help="Put the inputs into system shared memory, for a server on this machine, and send references to them.",
    ),
    _golden_option("--check", type=FILE, help="Golden file, .npz: an answer that differs from it is wrong."),
    _golden_option(
        "--write-golden",
        type=OutputFile(),
        help="Ask for each answer once before the load, write them as a golden file, and check the load against it.",
    ),
    _golden_option(
        "--rtol",
        type=Number(min=0),
        default=1e-3,
        show_default=True,
        help="A float may differ by rtol x the golden one + atol.",
    ),
    _golden_option("--atol", type=Number(min=0), default=1e-5, show_default=True, help="See --rtol."),
)


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds these options below `common_options`; the command gets them as its second argument, an `RequestOptions`."""

    @wraps(command)
    def call(common: CommonOptions, **values: Any) -> None:
        inputs = take_fields(RequestOptions, values)
        _check_options(common, inputs)
        command(common, inputs, **values)

    for option in reversed(_OPTIONS):
        call = option(call)
    return call


@contextmanager
def open_requests(common: CommonOptions, inputs: RequestOptions) -> Iterator[Requests]:
    """Says what will be called; shared memory lives as long as this.

    Exits with 1 when the server does not answer, with 2 for options that do not fit it.
    """
    with ExitStack() as stack:
        with report_errors(common.target):
            requests = _method_requests(common, inputs) if inputs.method else _infer_requests(common, inputs, stack)
        # Outside of `report_errors`, which is for errors of the preparation and not of the run.
        yield requests


def find_golden(common: CommonOptions, inputs: RequestOptions, requests: Requests) -> Golden | None:
    """The right answers, from --check's file or, for --write-golden, from the server; None when none were asked for."""
    read = golden.read_message if inputs.method else golden.read_outputs
    tolerance = Tolerance(inputs.rtol, inputs.atol)
    if inputs.check is not None:
        try:
            return Golden(requests.named, golden.load(inputs.check), read, tolerance)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--check") from error
    if inputs.write_golden is not None:
        with report_errors(common.target):
            arrays = _ask_golden(common, requests, read)
            try:
                golden.save(inputs.write_golden, arrays)
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--write-golden") from error
            except OSError as error:
                raise click.ClickException(write_error("--write-golden", inputs.write_golden, error)) from error
            click.echo(f"{inputs.write_golden}: {len(arrays)} outputs written")
            return Golden(requests.named, arrays, read, tolerance)
    return None


def _input_names(model: ServedModel) -> set[str]:
    return {tensor.name for tensor in model.metadata.inputs}


def _check_options(common: CommonOptions, inputs: RequestOptions) -> None:
    allow_one_of(*common.files, *_given({"--mix": inputs.mix, "--method": inputs.method}))
    allow_one_of(*_given({"--check": inputs.check, "--write-golden": inputs.write_golden}))
    model = {"--model": common.model, "--model-version": common.model_version}
    shape = {"--batch": common.batch, "--shape": common.shape, "--shared-memory": inputs.shared_memory}
    if inputs.mix:
        allow_one_of("--mix", *_given(model))
    if inputs.method:
        allow_one_of("--method", *_given({**model, **shape}))
    elif inputs.message:
        raise click.UsageError("--message needs --method")


def _given(options: Mapping[str, object]) -> list[str]:
    return [name for name, value in options.items() if value]


def _method_requests(common: CommonOptions, inputs: RequestOptions) -> Requests:
    files = [file for path in inputs.message for file in list_files(path)]
    if inputs.message and not files:
        raise click.UsageError(f"--message: {inputs.message[0]} holds no files")
    # A protobuf message whose fields all have their defaults has no bytes.
    messages = [file.read_bytes() for file in files] or [b""]
    click.echo(f"{common.target} {inputs.method}")
    choice = WeightedChoice(1.0, tuple((0, message) for message in messages))
    return Requests(inputs.method, (inputs.method.lstrip("/"),), [choice], common.seed)


def _infer_requests(common: CommonOptions, inputs: RequestOptions, stack: ExitStack) -> Requests:
    # A region is registered with a single server; the others could not read it.
    if inputs.shared_memory and parse_target(common.target).is_spread:
        raise click.UsageError("--shared-memory and a --target of several addresses exclude each other")
    workloads = prepare_mix(inputs.mix, common) if inputs.mix else [prepare(common)]
    kinds = tuple(part.label for part in inputs.mix) or (workloads[0].model,)
    choices = _weigh_requests(workloads, [part.weight for part in inputs.mix] or [1.0])
    if inputs.shared_memory:
        contents = [request for choice in choices for _, request in choice.items]
        stack.enter_context(share_inputs(common.target, contents, common.timeout))
    for workload in workloads:
        click.echo(f"{common.target} {workload}")
    # What is in shared memory by now is serialised without its contents.
    serialised = [
        WeightedChoice(choice.weight, tuple((kind, request.SerializeToString()) for kind, request in choice.items))
        for choice in choices
    ]
    return Requests(MODEL_INFER, kinds, serialised, common.seed)


def _weigh_requests(
    workloads: Sequence[Workload], weights: Sequence[float]
) -> list[WeightedChoice[tuple[int, ModelInferRequest]]]:
    """All choices of all models, each with its part of its model's weight."""
    choices = []
    for kind, (workload, weight) in enumerate(zip(workloads, weights, strict=True)):
        total = sum(choice.weight for choice in workload.choices)
        for choice in workload.choices:
            items = tuple((kind, workload.request(inputs)) for inputs in choice.items)
            choices.append(WeightedChoice(weight * choice.weight / total, items))
    return choices


def _ask_golden(common: CommonOptions, requests: Requests, read: Read) -> Arrays:
    # One call at a time, on a channel that is closed again before the load begins.
    with grpc.insecure_channel(common.target, channel_options()) as channel:
        method: Callable[..., bytes] = channel.unary_unary(requests.method)
        try:
            return golden.record(requests.named, lambda request: method(request, timeout=common.timeout), read)
        except grpc.RpcError as error:
            raise from_rpc(error) from error

"""What siege's options add up to: requests that are ready to be sent, and the right answers to them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import grpc

from yais.clients.channel import channel_options, parse_target
from yais.clients.inputs.files import list_files
from yais.clients.inputs.workload import WeightedChoice, Workload, prepare, report_errors
from yais.clients.options import CommonOptions
from yais.clients.protocol import Arrays, from_rpc
from yais.clients.siege.requests import golden
from yais.clients.siege.requests.golden import Golden, Read, Tolerance
from yais.clients.siege.requests.mix import prepare_mix
from yais.clients.siege.requests.options import Inputs
from yais.clients.siege.requests.region import shared
from yais.clients.siege.requests.requests import INFER, Requests
from yais.proto.grpc_service_pb2 import ModelInferRequest


@contextmanager
def opened(common: CommonOptions, inputs: Inputs) -> Iterator[Requests]:
    """Says what will be called; shared memory lives as long as this.

    Exits with 1 when the server does not answer, with 2 for options that do not fit it.
    """
    with ExitStack() as stack:
        with report_errors(common.target):
            requests = _call_method(common, inputs) if inputs.method else _infer(common, inputs, stack)
        yield requests


def find_golden(common: CommonOptions, inputs: Inputs, requests: Requests) -> Golden | None:
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
            arrays = _ask(common, requests, read)
            _write(inputs.write_golden, arrays)
            return Golden(requests.named, arrays, read, tolerance)
    return None


def _call_method(common: CommonOptions, inputs: Inputs) -> Requests:
    files = [file for path in inputs.message for file in list_files(path)]
    if inputs.message and not files:
        raise click.UsageError(f"--message: {inputs.message[0]} holds no files")
    messages = [file.read_bytes() for file in files] or [b""]
    click.echo(f"{common.target} {inputs.method}")
    choice = WeightedChoice(1.0, tuple((0, message) for message in messages))
    return Requests(inputs.method, (inputs.method.lstrip("/"),), [choice], common.seed)


def _infer(common: CommonOptions, inputs: Inputs, stack: ExitStack) -> Requests:
    if inputs.shared_memory and parse_target(common.target).is_spread:
        raise click.UsageError("--shared-memory and a --target of several addresses exclude each other")
    workloads = prepare_mix(inputs.mix, common) if inputs.mix else [prepare(common)]
    kinds = tuple(part.label for part in inputs.mix) or (workloads[0].model,)
    choices = _requests(workloads, [part.weight for part in inputs.mix] or [1.0])
    if inputs.shared_memory:
        contents = [request for choice in choices for _, request in choice.items]
        stack.enter_context(shared(common.target, contents, common.timeout))
    for workload in workloads:
        click.echo(f"{common.target} {workload}")
    return Requests(INFER, kinds, [_serialised(choice) for choice in choices], common.seed)


def _requests(
    workloads: Sequence[Workload], weights: Sequence[float]
) -> list[WeightedChoice[tuple[int, ModelInferRequest]]]:
    """All choices of all models, each with its part of its model's weight."""
    choices = []
    for kind, (workload, weight) in enumerate(zip(workloads, weights, strict=True)):
        total = sum(choice.weight for choice in workload.choices)
        for choice in workload.choices:
            turns = tuple((kind, workload.request(inputs)) for inputs in choice.items)
            choices.append(WeightedChoice(weight * choice.weight / total, turns))
    return choices


def _serialised(choice: WeightedChoice[tuple[int, ModelInferRequest]]) -> WeightedChoice[tuple[int, bytes]]:
    return WeightedChoice(choice.weight, tuple((kind, request.SerializeToString()) for kind, request in choice.items))


def _ask(common: CommonOptions, requests: Requests, read: Read) -> Arrays:
    with grpc.insecure_channel(common.target, channel_options()) as channel:
        method: Callable[..., bytes] = channel.unary_unary(requests.method)
        try:
            return golden.record(requests.named, lambda request: method(request, timeout=common.timeout), read)
        except grpc.RpcError as error:
            raise from_rpc(error) from error


def _write(path: Path, arrays: Arrays) -> None:
    try:
        golden.save(path, arrays)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--write-golden") from error
    click.echo(f"{path}: {len(arrays)} outputs written")

"""`client-sync`: one request at a time."""

from dataclasses import replace
from pathlib import Path
from time import monotonic_ns

import click
import grpc
import numpy as np

from yais.clients.channel import round_robin_options
from yais.clients.client import Client
from yais.clients.command import ClientCommand
from yais.clients.inputs import images
from yais.clients.inputs.workload import Workload, announce
from yais.clients.options import FILE, POSITIVE, CommonOptions, common_options, end_command, run_info, signal_flag
from yais.clients.protocol import Arrays, InferenceError, TensorMetadata
from yais.clients.stats.outcomes import STATUS_NUMBERS
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import summarise
from yais.proto.tensors import DATATYPES

_COUNT = 100
# Elements that are all printed, and columns.
_SHORT, _WIDTH = 32, 100
_CANCELLED = STATUS_NUMBERS[grpc.StatusCode.CANCELLED]

EXAMPLES = """\b
Examples:
  client-sync
  client-sync --model mlp --count 1
  client-sync --picture coffee.jpg --top 3
  client-sync --model mlp --batch 8 --count 1000
  client-sync --model identity --shape INPUT0:1024 --inputs zeros
"""


@click.command(cls=ClientCommand, epilog=EXAMPLES)
@common_options
@click.option("--count", type=POSITIVE, help=f"Requests to send; default {_COUNT}, or each picture once.")
@click.option("--labels", type=FILE, help="Names of a picture's classes, one a line; ImageNet's by default.")
@click.option("--top", type=POSITIVE, default=5, show_default=True, help="Classes to print for a picture.")
@click.option(
    "--print/--no-print",
    "shown",
    default=None,
    help="Whether to print the outputs of the last answer, long ones shortened; by default for --count 1.",
)
def main(common: CommonOptions, count: int | None, labels: Path | None, top: int, shown: bool | None) -> None:
    """Calls a model with one request in flight and prints the latencies.

    With --picture it also prints the most probable classes of the picture. Exits with 0 when all requests were
    answered, 1 when any was not, 2 for bad usage. Ctrl-C ends the run after the request in flight.
    """
    workload = announce(common)
    info = replace(run_info(common), loop="closed", schedule="one request at a time")
    pictures_given = len(workload.choices[0].items) if common.picture else _COUNT
    recorder, outputs = call(common, workload, count or pictures_given)
    if common.picture and outputs:
        print_classes(outputs, labels, top)
    if shown if shown is not None else count == 1:
        print_outputs(outputs)
    end_command(summarise(recorder.tally, info))


def call(options: CommonOptions, workload: Workload, count: int) -> tuple[Recorder, Arrays]:
    """The records of `count` requests, fewer after a signal, and the outputs of the last one answered."""
    recorder, outputs = Recorder(), Arrays()
    drawn = workload.draw()
    with (
        Client(options.target, options=round_robin_options(options.target)) as client,
        signal_flag() as interrupted,
    ):
        for _ in range(count):
            if interrupted():
                break
            # A request that failed returns None, and the outputs of the last one that was answered stay.
            outputs = _exchange(client, workload, next(drawn), options.timeout, recorder) or outputs
    return recorder, outputs


def print_outputs(outputs: Arrays) -> None:
    """Each output below its name, datatype and shape, as numpy shows it."""
    for name, array in outputs.items():
        click.echo(TensorMetadata(name, DATATYPES[array.dtype.newbyteorder("=")], array.shape))
        click.echo(np.array2string(array, threshold=_SHORT, max_line_width=_WIDTH))


def print_classes(outputs: Arrays, labels: Path | None, top: int) -> None:
    """The classes of the first row of the first output."""
    name, scores = next(iter(outputs.items()))
    if scores.dtype == object or not scores.size:
        raise click.UsageError(f"--picture: output {name} holds no scores")
    # The classes are the last dimension, whether or not a batch dimension stands before it.
    row = scores.reshape(-1, scores.shape[-1])[0]
    label = images.find_labels(labels, row.size)
    best = [(label(index), score) for index, score in images.top_classes(row, top)]
    width = max(len(text) for text, _ in best)
    for text, score in best:
        click.echo(f"{text:<{width}}  {score:.3f}")


def _exchange(client: Client, workload: Workload, inputs: Arrays, timeout: float, recorder: Recorder) -> Arrays | None:
    sent = monotonic_ns()
    try:
        outputs = client.infer(workload.model, inputs, version=workload.version, timeout=timeout)
    except InferenceError as error:
        recorder.add_failure(sent, sent, monotonic_ns(), STATUS_NUMBERS[error.code], error.details)
    # Raised by the second signal, within the call; the first one has already ended the loop after it.
    except KeyboardInterrupt:
        recorder.add_failure(sent, sent, monotonic_ns(), _CANCELLED, "cancelled by the user")
    else:
        recorder.add(sent, sent, monotonic_ns())
        return outputs
    return None

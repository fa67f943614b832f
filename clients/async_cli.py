"""`client-async`: many requests at a time."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from time import monotonic_ns

import click
import grpc
import uvloop

from yais.clients.aio import AsyncClient
from yais.clients.channel import round_robin_options
from yais.clients.command import ClientCommand
from yais.clients.inputs.workload import Workload, announce
from yais.clients.options import POSITIVE, CommonOptions, common_options, end_command, handle_signals, run_info
from yais.clients.protocol import InferenceError
from yais.clients.stats.outcomes import STATUS_NUMBERS
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import summarise

_CANCELLED = STATUS_NUMBERS[grpc.StatusCode.CANCELLED]

EXAMPLES = """\b
Examples:
  client-async
  client-async --count 10000 --concurrency 128
  client-async --model mlp --batch 8
  client-async --npz inputs.npz --timeout 2s
"""


@click.command(cls=ClientCommand, epilog=EXAMPLES)
@common_options
@click.option("--count", type=POSITIVE, default=1000, show_default=True, help="Requests to send.")
@click.option("--concurrency", type=POSITIVE, default=64, show_default=True, help="The most requests in flight.")
def main(common: CommonOptions, count: int, concurrency: int) -> None:
    """Calls a model with many requests in flight and prints the latencies.

    This is a closed loop: a slow server is sent less, so that the latencies are those of a load it can bear; `siege`
    measures at a rate of your choice. Exits with 0 when all requests were answered, 1 when one was not, 2 for bad
    usage. Ctrl-C ends the run after the requests in flight, a second one cancels them.
    """
    workload = announce(common)
    info = replace(run_info(common), loop="closed", schedule=f"{concurrency} requests at a time")
    recorder = uvloop.run(call(common, workload, count, concurrency))
    end_command(summarise(recorder.tally, info))


async def call(options: CommonOptions, workload: Workload, count: int, concurrency: int) -> Recorder:
    """The records of `count` requests, fewer after a signal."""
    caller = Caller(workload, options.timeout, count)
    async with AsyncClient(options.target, options=round_robin_options(options.target)) as client:
        workers = [asyncio.create_task(caller.work(client)) for _ in range(min(concurrency, count))]
        with handle_signals(caller.stop, partial(cancel, workers)):
            # Unlike gather(), wait() raises nothing: all workers end before the error of one of them is raised.
            await asyncio.wait(workers)
    for worker in workers:
        # A cancelled worker has recorded its request; its result() would raise CancelledError.
        if not worker.cancelled():
            worker.result()
    return caller.recorder


def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


class Caller:
    """What the workers share: the requests left to send, and the records."""

    def __init__(self, workload: Workload, timeout: float, count: int) -> None:
        self.recorder = Recorder()
        self._workload = workload
        self._drawn = workload.draw()
        self._timeout = timeout
        self._left = count

    def stop(self) -> None:
        self._left = 0

    async def work(self, client: AsyncClient) -> None:
        while self._left > 0:
            # Nothing is awaited between the test and this, so that never more than `count` requests are sent.
            self._left -= 1
            await self._exchange(client)

    async def _exchange(self, client: AsyncClient) -> None:
        workload, sent = self._workload, monotonic_ns()
        try:
            await client.infer(workload.model, next(self._drawn), version=workload.version, timeout=self._timeout)
        except InferenceError as error:
            # Due when sent: a closed loop has no schedule, and its send lag is 0.
            self.recorder.add_failure(sent, sent, monotonic_ns(), STATUS_NUMBERS[error.code], error.details)
        except asyncio.CancelledError:
            self.recorder.add_failure(sent, sent, monotonic_ns(), _CANCELLED, "cancelled by the user")
            raise
        else:
            self.recorder.add(sent, sent, monotonic_ns())

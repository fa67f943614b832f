"""Batches that are run on the event loop, one after the other, with as little between them as can be.

This is what `execute` and the model do with the batch of a thread, without their layers, which would cost more than the
run of a very small model. It holds for batches with which nothing goes wrong; any other is given back as it was.
"""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import NamedTuple

from yais.engines import Context
from yais.server.models.batching import Batch, pack
from yais.server.models.execution import answer, fill
from yais.server.models.request import Request

# Takes the rows of a run, when it started, what input, run and output took, the time by now, and who was answered.
OnRun = Callable[[int, int, int, int, int, int, Sequence[Request]], None]


class Stretch(NamedTuple):
    """So many runs, and the nanoseconds that they took together; `troubled` is a batch to be run again with care."""

    runs: int
    run_ns: int
    troubled: Batch[Request] | None = None


def run_batches(
    context: Context, waiting: deque[Request], max_rows: int, until: int, longest_ns: int, on_run: OnRun
) -> Stretch:
    """Runs what waits, all of the same shapes, until `until`, a run that takes `longest_ns`, or trouble."""
    runs = run_ns = total_ns = 0
    while waiting and run_ns < longest_ns and (started := monotonic_ns()) < until:
        batch = pack(waiting, max_rows, started)
        if batch.expired:
            return Stretch(runs, total_ns, batch)
        try:
            context.fit(batch.items[0].shapes)
            rows = fill(context.inputs, batch.items)
            input_ns = monotonic_ns() - started
            run = context.execute(rows)
        except Exception:  # Who runs it with care finds out.
            return Stretch(runs, total_ns, batch)
        ran = monotonic_ns()
        answered = answer(batch.items, context.outputs)
        now = monotonic_ns()
        on_run(rows, started, input_ns, run.infer_ns, now - ran, now, answered)
        run_ns = input_ns + run.infer_ns
        total_ns += run_ns
        runs += 1
    return Stretch(runs, total_ns)

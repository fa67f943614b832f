"""Runs of the engine: requests write their rows into the batch buffers, the engine runs, they take their answers.

There are two ways. `execute` runs one batch with care, in a thread: what fails is taken apart. `run_inline` runs
batches on the event loop, one after the other, with as little between them as can be, since layers would cost more than
the run of a very small model; it holds for batches with which nothing goes wrong, and gives any other back as it was.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import NamedTuple, Protocol

from yais.engines import Array, Context, DeviceLostError, EngineError, InvalidInputError
from yais.server.errors import EngineFailureError, InvalidRequestError, LostDeviceError, ServiceError
from yais.server.models.batching import Batch, pack
from yais.server.models.request import Request

logger = logging.getLogger(__name__)

Outputs = Mapping[str, Array]

_SERVICE_ERRORS: dict[type[EngineError], type[ServiceError]] = {
    InvalidInputError: InvalidRequestError,
    DeviceLostError: LostDeviceError,
}


class Execution(NamedTuple):
    """One run of the engine; durations are in nanoseconds.

    `outcome`: the batch buffers of all outputs, in which the rows of `requests` lie one behind the other. `output_ns`:
    what it took to get them there from a device, where there is one.
    """

    requests: Sequence[Request]
    outcome: Outputs | ServiceError
    rows: int
    started: int
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    padding: int = 0


class RecordRun(Protocol):
    """Records a run: its rows, its durations in nanoseconds, the time by now, and the requests that were answered."""

    def __call__(
        self,
        rows: int,
        started: int,
        input_ns: int,
        infer_ns: int,
        output_ns: int,
        now: int,
        answered: Sequence[Request],
        padding: int = 0,
        /,
    ) -> None: ...


class InlineRuns(NamedTuple):
    """So many runs, and the nanoseconds that they took together; `troubled` is a batch to be run again with care."""

    runs: int
    run_ns: int
    troubled: Batch[Request] | None = None


def fill(inputs: Mapping[str, Array], requests: Sequence[Request]) -> int:
    """Has the rows of all requests written one behind the other; returns how many that are."""
    rows = 0
    for request in requests:
        request.fill(inputs, rows)
        rows += request.rows
    return rows


def answer(requests: Sequence[Request], outputs: Outputs) -> list[Request]:
    """Gives each its rows; returns those that could be answered. Whatever goes wrong with one stays its own."""
    answered = []
    row = 0
    for request in requests:
        try:
            if request.is_wanted:
                request.answer(outputs, row)
                answered.append(request)
        # A model may give what no answer can carry, and the others in the batch have nothing to do with that.
        except Exception:
            logger.exception("A result could not be encoded")
            request.refuse(EngineFailureError("The result could not be encoded; see the server's log"))
        row += request.rows
    return answered


def refuse(requests: Sequence[Request], error: ServiceError) -> None:
    """Tells those that are still wanted why there is no result."""
    for request in requests:
        if request.is_wanted:
            request.refuse(error)


def execute(context: Context, requests: Sequence[Request], started: int) -> list[Execution]:
    """Runs `requests` as one batch, at the time `started`.

    When the engine refuses the batch, each request runs again alone, so that one bad request does not fail the others,
    unless no run can succeed any more.
    """
    try:
        context.fit(requests[0].shapes)
        rows = fill(context.inputs, requests)
        input_ns = monotonic_ns() - started
        run = context.execute(rows)
        return [
            Execution(
                requests,
                context.outputs,
                rows=rows,
                started=started,
                input_ns=input_ns + run.input_ns,
                infer_ns=run.infer_ns,
                output_ns=run.output_ns,
                padding=run.padding,
            )
        ]
    except EngineError as error:
        # Alone, a request would fail again; and on a lost device all would.
        if len(requests) == 1 or isinstance(error, DeviceLostError):
            failed_ns = monotonic_ns() - started
            rows = sum(request.rows for request in requests)
            kinds = (kind for engines_kind, kind in _SERVICE_ERRORS.items() if isinstance(error, engines_kind))
            outcome = next(kinds, EngineFailureError)(str(error))
            return [Execution(requests, outcome, rows, started, infer_ns=failed_ns)]
    return [_execute_alone(context, request) for request in requests]


def run_inline(
    context: Context, waiting: deque[Request], max_rows: int, until: int, longest_ns: int, record: RecordRun
) -> InlineRuns:
    """Runs what waits, all of the same shapes, until the time `until`, a run that takes `longest_ns`, or trouble."""
    # A run counts from when its batch was taken: what filling takes keeps the loop busy, too.
    runs = run_ns = total_ns = 0
    while waiting and run_ns < longest_ns and (started := monotonic_ns()) < until:
        batch = pack(waiting, max_rows, started)
        if batch.expired:
            return InlineRuns(runs, total_ns, batch)
        try:
            context.fit(batch.items[0].shapes)
            rows = fill(context.inputs, batch.items)
            input_ns = monotonic_ns() - started
            run = context.execute(rows)
        except Exception:  # `execute` finds out why.
            return InlineRuns(runs, total_ns, batch)
        ran = monotonic_ns()
        answered = answer(batch.items, context.outputs)
        now = monotonic_ns()
        record(rows, started, input_ns, run.infer_ns, now - ran, now, answered)
        run_ns = input_ns + run.infer_ns
        total_ns += run_ns
        runs += 1
    return InlineRuns(runs, total_ns)


def _execute_alone(context: Context, request: Request) -> Execution:
    """As `execute`, with outputs of its own, since the next request's run goes into the same buffers."""
    (execution,) = execute(context, [request], monotonic_ns())
    if isinstance(execution.outcome, ServiceError):
        return execution
    return execution._replace(outcome={name: array.copy() for name, array in execution.outcome.items()})

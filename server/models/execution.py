"""One run of the engine: requests write their rows into the batch buffers, the engine runs, they take their answers."""

import logging
from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import NamedTuple

from yais.engines import Array, Context, DeviceLostError, EngineError, InvalidInputError, Run
from yais.server.errors import EngineFailureError, InvalidRequestError, LostDeviceError, ServiceError
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
        except Exception:
            logger.exception("A result could not be made an answer")
            request.refuse(EngineFailureError("The result could not be encoded; the server's log tells more"))
        row += request.rows
    return answered


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
        return [_executed(requests, context.outputs, rows, started, input_ns, run)]
    except EngineError as error:
        if len(requests) == 1 or isinstance(error, DeviceLostError):
            failed_ns = monotonic_ns() - started
            rows = sum(request.rows for request in requests)
            return [Execution(requests, _service_error(error), rows, started, 0, failed_ns)]
    return [_execute_alone(context, request) for request in requests]


def _executed(
    requests: Sequence[Request], outputs: Outputs, rows: int, started: int, fill_ns: int, run: Run
) -> Execution:
    infer_ns, copied_in_ns, copied_out_ns, padding = run
    return Execution(requests, outputs, rows, started, fill_ns + copied_in_ns, infer_ns, copied_out_ns, padding)


def _execute_alone(context: Context, request: Request) -> Execution:
    """As `execute`, with outputs of its own, since the next request's run goes into the same buffers."""
    (execution,) = execute(context, [request], monotonic_ns())
    if isinstance(execution.outcome, ServiceError):
        return execution
    return execution._replace(outcome={name: array.copy() for name, array in execution.outcome.items()})


def _service_error(error: EngineError) -> ServiceError:
    for kind, service_kind in _SERVICE_ERRORS.items():
        if isinstance(error, kind):
            return service_kind(str(error))
    return EngineFailureError(str(error))

"""What a context thread does with a batch: copy the rows in, run the engine, cut the outputs into shares."""

from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import NamedTuple

from yais.engines import Array, Context, EngineError, InvalidInputError
from yais.server.errors import EngineFailureError, InvalidRequestError, ServiceError
from yais.server.request import Request

Outputs = Mapping[str, Array]


class Execution(NamedTuple):
    """One run of the engine. `outcome` has an entry for each of `requests`; durations are in nanoseconds."""

    requests: Sequence[Request]
    outcome: Sequence[Outputs] | ServiceError
    rows: int
    started: int
    input_ns: int = 0
    infer_ns: int = 0


def execute(context: Context, requests: Sequence[Request]) -> list[Execution]:
    """Runs `requests` as one batch.

    When the engine refuses the batch, each request runs again alone, so that one bad request does not fail the others.
    """
    started = monotonic_ns()
    try:
        return [_run(context, requests)]
    except EngineError as error:
        if len(requests) == 1:
            failed_ns = monotonic_ns() - started
            return [Execution(requests, _service_error(error), requests[0].rows, started, 0, failed_ns)]
    return [_run_alone(context, request) for request in requests]


def _run_alone(context: Context, request: Request) -> Execution:
    """As `execute`, with outputs of its own, since the next request's run goes into the same buffers."""
    (execution,) = execute(context, [request])
    if isinstance(execution.outcome, ServiceError):
        return execution
    copies = [{name: array.copy() for name, array in share.items()} for share in execution.outcome]
    return execution._replace(outcome=copies)


def _run(context: Context, requests: Sequence[Request]) -> Execution:
    started = monotonic_ns()
    rows = _fill(context, requests)
    input_ns = monotonic_ns() - started
    infer_ns = context.execute(rows)
    return Execution(requests, _shares(context.outputs, requests), rows, started, input_ns, infer_ns)


def _fill(context: Context, requests: Sequence[Request]) -> int:
    """Copies the requests' rows one behind the other into the input buffers; returns how many rows that made."""
    context.fit(requests[0].shapes)
    row = 0
    for request in requests:
        end = row + request.rows
        for name, array in request.inputs.items():
            context.inputs[name][row:end] = array
        row = end
    return row


def _shares(outputs: Outputs, requests: Sequence[Request]) -> list[Outputs]:
    shares: list[Outputs] = []
    row = 0
    for request in requests:
        end = row + request.rows
        shares.append({name: buffer[row:end] for name, buffer in outputs.items()})
        row = end
    return shares


def _service_error(error: EngineError) -> ServiceError:
    kind = InvalidRequestError if isinstance(error, InvalidInputError) else EngineFailureError
    return kind(str(error))

"""Records of requests that never were."""

import grpc

from yais.clients.stats.outcomes import DROPPED, STATUS_NUMBERS, WRONG
from yais.clients.stats.recorder import Recorder

MS = 1_000_000
SECOND = 1000 * MS

Entry = tuple[int | grpc.StatusCode, int, int, int, int]
"""Status, due, lag, service time, kind."""


def write(entries: list[Entry], recorder: Recorder | None = None) -> Recorder:
    recorder = recorder or Recorder()
    for status, due, lag, service, kind in entries:
        sent, done = due + lag, due + lag + service
        if isinstance(status, grpc.StatusCode):
            recorder.add_failure(due, sent, done, STATUS_NUMBERS[status], f"text {due % 3}", kind)
        elif status == DROPPED:
            recorder.drop(due, kind)
        elif status == WRONG:
            recorder.add_wrong(due, sent, done, f"text {due % 3}", kind)
        else:
            recorder.add(due, sent, done, kind=kind)
    return recorder


def plain(status: int | grpc.StatusCode, due: int = 0, lag: int = 0, service: int = 0) -> Entry:
    return status, due, lag, service, 0

"""Invariants of a server under attack, checked by its metrics and by what the clients know of their requests."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from typing import Literal, NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from yais.clients.siege.chaos.canary import CanaryReport

State = Literal["held", "broke", "unproven", "unknown"]

OK = 0
MB = 2**20
# With these statuses the service itself certainly answered, having read the request: INVALID_ARGUMENT, NOT_FOUND,
# UNIMPLEMENTED. Others may come from the transport.
_REFUSALS = frozenset((3, 5, 12))
_SCRAPE_S = 10.0
# The connection of the scrape is one; the system may take its time with another.
_FILES = 4
# The canary's default bound is the greater of this, and of so many times its p99 in the baseline.
_LEAST_BOUND_MS = 50.0
_FACTOR = 10.0


@dataclass(frozen=True, slots=True)
class AttackRequest:
    """One request as bytes.

    `is_countable`: whether the server can read from it that it is for the watched model, and so must count it.
    `is_valid`: whether it may be answered with OK. `name` says what is wrong with it.
    """

    body: bytes
    name: str = "a valid request"
    is_countable: bool = True
    is_valid: bool = True


class CounterRange(NamedTuple):
    """The least and the most by which a counter may have grown."""

    least: int
    most: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"


@dataclass(slots=True)
class ExpectedCounters:
    """The clients' counts of requests for the watched model, and what the server's counters must therefore say.

    `answered`: OK came back, so the server counted one success. `refused`: a status came back that only the service
    gives, so it counted one failure, if it counts refusals at all. `lost`: cancelled, timed out, gone, or refused where
    the transport may have done it; the server may have counted it, as either, or not. The same goes for what is
    `in_flight`. `unexpected` are answers that the server must not give. `actions` are those of the attack, of any kind.
    """

    actions: int = 0
    disconnects: int = 0
    answered: int = 0
    refused: int = 0
    lost: int = 0
    in_flight: int = 0
    unexpected: Counter[str] = field(default_factory=Counter)

    def add_sent(self, request: AttackRequest) -> None:
        self.in_flight += request.is_countable

    def add_ended(self, request: AttackRequest, status: int | None) -> None:
        """`status` is gRPC's number, None where none came."""
        if status == OK and not request.is_valid:
            self.unexpected[f"OK for {request.name}"] += 1
        if status in _REFUSALS and request.is_valid:
            self.unexpected[f"status {status} for {request.name}"] += 1
        if not request.is_countable:
            return
        self.in_flight -= 1
        if status == OK:
            self.answered += 1
        elif status in _REFUSALS:
            self.refused += 1
        else:
            self.lost += 1

    def add_abandoned(self, request: AttackRequest) -> None:
        """A request that was sent, and whose answer nobody waits for."""
        self.add_sent(request)
        self.add_ended(request, None)

    def add_canary(self, report: CanaryReport) -> None:
        """The canary's requests count with those of the attack."""
        self.answered += report.answered
        request = AttackRequest(b"", "a request of the canary")
        for status, count in report.statuses.items():
            for _ in range(count):
                self.add_sent(request)
                self.add_ended(request, status)

    @property
    def unknown(self) -> int:
        return self.lost + self.in_flight

    @property
    def successes(self) -> CounterRange:
        return CounterRange(self.answered, self.answered + self.unknown)

    def received(self, counts_refusals: bool) -> CounterRange:
        """Successes and failures together; a server need not count what it refuses, unless it says that it does."""
        least = self.answered + (self.refused if counts_refusals else 0)
        return CounterRange(least, self.answered + self.refused + self.unknown)


class ScrapeError(Exception):
    """The server's metrics cannot be read."""


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """The server's metrics that the invariants need; None for those that it does not have.

    `success` and `failure` are the counters of the watched model; `in_flight` is what came in and is not answered yet;
    `files` are open descriptors and `memory` resident bytes; `started` is when the process began, in seconds of the
    epoch.
    """

    success: float | None = None
    failure: float | None = None
    in_flight: float | None = None
    files: float | None = None
    memory: float | None = None
    started: float | None = None

    @property
    def received(self) -> float | None:
        return None if self.success is None else self.success + (self.failure or 0.0)

    @classmethod
    def of(cls, samples: Sequence[Sample], model: str) -> "ServerMetrics":
        """The totals over all labels, of counters those of the model."""

        def total(name: str, **labels: str) -> float | None:
            # The parser gives counters the suffix that OpenMetrics asks for.
            found = [sample for sample in samples if sample.name.removesuffix("_total") == name]
            values = [sample.value for sample in found if labels.items() <= sample.labels.items()]
            return sum(values) if values else None

        depth = total("yais_executor_queue_depth")
        return cls(
            success=total("nv_inference_request_success", model=model),
            failure=total("nv_inference_request_failure", model=model),
            # Of all models: an attack's requests need not name the watched one.
            in_flight=total("nv_inference_pending_request_count") if depth is None else depth,
            files=total("process_open_fds"),
            memory=total("process_resident_memory_bytes"),
            started=total("process_start_time_seconds"),
        )


class Scraper:
    """Reader of the metrics of `host:port`; for a server on this machine, `pid` gives its memory and files instead."""

    def __init__(self, host: str, port: int | None, model: str, pid: int | None = None) -> None:
        self._host, self._port = host, port
        self._model = model
        self._pid = pid

    async def read(self) -> ServerMetrics:
        """Raises ScrapeError."""
        # In a thread: a server that answers slowly must not hold up the event loop.
        return await asyncio.to_thread(self._read)

    def _read(self) -> ServerMetrics:
        metrics = ServerMetrics()
        try:
            if self._port is not None:
                families = text_string_to_metric_families(self._get())
                metrics = ServerMetrics.of([sample for family in families for sample in family.samples], self._model)
            if self._pid is not None:
                process = psutil.Process(self._pid)
                # A server may consist of several processes, as Triton does with Python models.
                processes = [process, *process.children(recursive=True)]
                metrics = replace(
                    metrics,
                    files=float(sum(each.num_fds() for each in processes)),
                    memory=float(sum(each.memory_info().rss for each in processes)),
                    started=process.create_time(),
                )
        # The parser raises ValueError for a page that is not in Prometheus's format.
        except (OSError, HTTPException, ValueError, psutil.Error) as error:
            raise ScrapeError(f"{type(error).__name__}: {error}") from error
        return metrics

    def _get(self) -> str:
        connection = HTTPConnection(self._host, self._port, timeout=_SCRAPE_S)
        try:
            # Closed after each scrape, for the connection is one of the open files that are counted.
            connection.request("GET", "/metrics", headers={"Connection": "close"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"/metrics answers {answer.status}")
        return text


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one invariant after an attack.

    `unproven`: the clients could not do their part. `unknown`: the server has no metric to check it by.
    """

    invariant: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server is held to: `canary` in milliseconds, `memory` in bytes.

    `counts_refusals`: whether it says that it counts requests for its models which it refuses. YAIS does; Triton
    leaves out those that it refuses before its queue.
    """

    canary: float
    memory: float
    counts_refusals: bool


def default_canary_bound(baseline: CanaryReport) -> float:
    """Milliseconds for the canary's p99, from its p99 without an attack."""
    return max(_FACTOR * baseline.p99, _LEAST_BOUND_MS)


def check_metrics(
    *,
    first: ServerMetrics,
    before: ServerMetrics,
    after: ServerMetrics,
    counters: ExpectedCounters,
    limits: Limits,
) -> list[Finding]:
    """The invariants of the metrics before and after an attack; `first` are from before all, so small leaks add up."""
    read = (first, before, after)
    sizes = [None if metrics.memory is None else metrics.memory / MB for metrics in read]
    return [
        _check_process(before, after),
        _check_growth("successes", before.success, after.success, counters.successes),
        _check_growth("counted", before.received, after.received, counters.received(limits.counts_refusals)),
        _check_in_flight(after),
        _check_at_most("connections", [metrics.files for metrics in read], _FILES, "open files"),
        _check_at_most("memory", sizes, limits.memory / MB, "MB"),
    ]


def check_answers(is_answered: bool, reason: str = "") -> Finding:
    if is_answered:
        return Finding("answers", "held", "a new client was answered")
    return Finding("answers", "broke", f"a new client was not answered: {reason}")


def check_refusals(counters: ExpectedCounters) -> Finding:
    if not counters.unexpected:
        return Finding("refusals", "held", "nothing was answered that should not be")
    texts = (f"{count:,} x {text}" for text, count in counters.unexpected.most_common(3))
    return Finding("refusals", "broke", "; ".join(texts))


def check_attack(counters: ExpectedCounters) -> Finding:
    """Whether the attack took place."""
    if counters.actions:
        return Finding("attack", "held", f"{counters.actions:,} actions, disconnected {counters.disconnects:,} times")
    text = f"the attack did nothing; the server disconnected it {counters.disconnects:,} times"
    return Finding("attack", "unproven", text)


def check_canary(report: CanaryReport, bound: float) -> Finding:
    """Whether the canary was answered, correctly and in time; its own delay does not count against the server."""
    figures = f"p99 {report.p99:.1f} ms, bound {bound:.1f} ms, {report.answered:,} of {report.sent:,} answered"
    if report.wrong:
        return Finding("canary", "broke", f"{report.wrong:,} answers were to another request; {figures}")
    if report.lost:
        failures = sorted(report.failures.items(), key=lambda item: -item[1])[:2]
        reasons = "; ".join(f"{count:,} x {text}" for text, count in failures)
        return Finding("canary", "broke", f"{figures}: {reasons}")
    if report.p99 <= bound:
        return Finding("canary", "held", figures)
    # When half of the wait is the canary's own delay, it proves nothing about the server.
    if report.lag_p99 > report.p99 / 2:
        return Finding("canary", "unproven", f"{figures}, but it sent {report.lag_p99:.1f} ms late itself")
    return Finding("canary", "broke", figures)


def _check_process(before: ServerMetrics, after: ServerMetrics) -> Finding:
    if before.started is None or after.started is None:
        return Finding("stays", "unknown", "the metrics do not say when the process began")
    if before.started == after.started:
        return Finding("stays", "held", "the same process")
    return Finding("stays", "broke", "the server is another process than before")


def _check_growth(invariant: str, before: float | None, after: float | None, expected: CounterRange) -> Finding:
    if before is None or after is None:
        return Finding(invariant, "unknown", "there is no such counter of the model")
    # Values are floats in Prometheus's format, those of counters too.
    growth = round(after - before)
    return Finding(invariant, "held" if growth in expected else "broke", f"grew by {growth:,}, should by {expected}")


def _check_in_flight(after: ServerMetrics) -> Finding:
    if after.in_flight is None:
        return Finding("in flight", "unknown", "the metrics do not say what is in flight")
    return Finding("in flight", "broke" if after.in_flight else "held", f"{after.in_flight:,.0f} left")


def _check_at_most(invariant: str, values: Sequence[float | None], most: float, unit: str) -> Finding:
    """`values` are from the start, before the attack and after it; what it may grow by is from the start."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Finding(invariant, "unknown", f"there is no metric of its {invariant}")
    first, before, after = known
    text = f"{after - before:+,.0f} {unit}, {after - first:+,.0f} since the start, at most {most:+,.0f}"
    return Finding(invariant, "held" if after - first <= most else "broke", text)

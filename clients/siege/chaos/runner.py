"""Runner of the attacks, one after the other, each with the canary beside it and the invariants checked after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from random import Random

from yais.clients.channel import join_address
from yais.clients.protocol import MODEL_INFER
from yais.clients.siege.chaos import h2, invariants
from yais.clients.siege.chaos.canary import CanaryProcess, CanaryReport
from yais.clients.siege.chaos.h2 import Peer
from yais.clients.siege.chaos.invariants import (
    OK,
    AttackRequest,
    ExpectedCounters,
    Finding,
    Limits,
    ScrapeError,
    Scraper,
    ServerMetrics,
    State,
)
from yais.clients.siege.chaos.proxy import Proxy
from yais.clients.siege.chaos.toxics import ConfiguredToxic
from yais.clients.siege.transports import TransportName, UnaryCall, UnaryCallable, open_callable
from yais.proto.grpc_service_pb2 import ModelInferRequest

BASELINE = "baseline"
# gRPC's number.
CANCELLED = 1
# What fits into a connection's first window, and leaves room for others.
_SMALL = 16_384
# Between two actions of a worker: an attack must not be an overload, for which no server can be blamed.
_PAUSE_S = 0.005
_POLL_S = 0.1
# How long an attack may go on after its time, in addition to what its last answers take.
_OVERTIME_S = 10.0

Action = Callable[[Random], Awaitable[None]]


@dataclass(slots=True)
class AttackContext:
    """What an attack is given. `end` is a time of the event loop, `timeout` is in seconds for one answer.

    `load` is the most requests that the attack has in flight, and the most connections that it keeps.
    """

    host: str
    port: int
    transport: TransportName
    request: ModelInferRequest
    seed: str
    end: float
    load: int = 32
    timeout: float = 10.0
    counters: ExpectedCounters = field(default_factory=ExpectedCounters)

    @property
    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.end

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return max(self.end - asyncio.get_running_loop().time(), 0.0)

    @property
    def valid(self) -> AttackRequest:
        return AttackRequest(self.request.SerializeToString())

    @property
    def small(self) -> AttackRequest:
        """The valid request, or one without inputs where that is too large for frames that ignore windows."""
        if len(self.valid.body) <= _SMALL:
            return self.valid
        bare = ModelInferRequest(model_name=self.request.model_name, model_version=self.request.model_version)
        return AttackRequest(bare.SerializeToString(), "a request without inputs", is_valid=False)

    def connect(self) -> AbstractAsyncContextManager[Peer]:
        return h2.connect(self.host, self.port)

    @asynccontextmanager
    async def client(self, within: float | None = None) -> AsyncIterator["AttackClient"]:
        """A client on a channel of its own, connected within that many seconds, at most `timeout`."""
        limit = self.timeout if within is None else min(within, self.timeout)
        channel, send = open_callable(self.transport, join_address(self.host, self.port), MODEL_INFER)
        async with channel:
            try:
                await asyncio.wait_for(channel.channel_ready(), limit)
            except TimeoutError:
                raise ConnectionError(f"no connection within {limit:g} s") from None
            yield AttackClient(send, self.counters)

    async def call(self, peer: Peer, request: AttackRequest, grpc_timeout: str | None = None) -> int | None:
        """The status of one request in bare frames; only the server watches `grpc_timeout`."""
        stream, status = peer.open_stream(), None
        # Before it is sent: nobody knows how much of a request arrived when its connection was lost.
        self.counters.add_sent(request)
        try:
            await peer.send(peer.request(stream, request.body, grpc_timeout))
            status = await asyncio.wait_for(peer.ended(stream), self.timeout)
        except TimeoutError:
            suffix = "" if grpc_timeout is None else f" to a timeout of {grpc_timeout}"
            self.counters.unexpected[f"no answer within {self.timeout:g} s{suffix}"] += 1
        finally:
            self.counters.add_ended(request, status)
        return status

    async def repeat(self, action: Action, workers: int = 4) -> None:
        """Repeats the action in so many workers, at least once in each.

        A worker whose server hangs up starts again; any other OSError is ours.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                # Seeded for each worker: it does the same things in the same order, whatever the others do.
                group.create_task(self._work(action, Random(f"{self.seed}/{number}")))

    async def _work(self, action: Action, random: Random) -> None:
        # What is begun just before the end has as long as any other request.
        limit = asyncio.timeout_at(self.end + self.timeout)
        try:
            async with limit:
                # At least once: on a busy machine the time may be over before the attack has connected.
                while True:
                    try:
                        await action(random)
                        self.counters.actions += 1
                    except (ConnectionError, EOFError):
                        self.counters.disconnects += 1
                    if self.is_over:
                        break
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            # A server may well stop reading from an attacker, who then gives up.
            if not limit.expired():
                raise


class AttackClient:
    """Calls on one channel, each of them entered in the counters."""

    def __init__(self, send: UnaryCallable, counters: ExpectedCounters) -> None:
        self._send = send
        self._counters = counters
        self._waiting: dict[UnaryCall, tuple[AttackRequest, asyncio.Future[int]]] = {}

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def begin(self, request: AttackRequest, limit: float) -> tuple[UnaryCall, asyncio.Future[int]]:
        """Sends it with a deadline of `limit` seconds; the future is the status that the call ends with."""
        call = self._send(request.body, self._on_done, limit)
        # Before anything can have become of it: `send` calls back only after it has returned.
        self._counters.add_sent(request)
        ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[call] = request, ending
        return call, ending

    async def call(self, request: AttackRequest, limit: float) -> int:
        return await self.begin(request, limit)[1]

    async def wait_idle(self) -> None:
        if self._waiting:
            await asyncio.wait([ending for _, ending in self._waiting.values()])

    def _on_done(self, call: UnaryCall) -> None:
        request, ending = self._waiting.pop(call)
        self._counters.add_ended(request, call.status)
        if not ending.done():
            ending.set_result(call.status)


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack: runs until the context is over; its connections go through a proxy with `toxics`, if there are any."""

    name: str
    text: str
    run: Callable[[AttackContext], Awaitable[None]]
    toxics: tuple[ConfiguredToxic, ...] = ()


@dataclass(frozen=True, slots=True)
class ChaosConfig:
    """What all attacks have in common; times in seconds, but for `limits`.

    A `canary` limit of 0 is set from the baseline.
    """

    host: str
    port: int
    transport: TransportName
    request: ModelInferRequest
    seed: int
    duration: float
    load: int
    timeout: float
    settle: float
    limits: Limits
    toxics: tuple[ConfiguredToxic, ...] = ()


@dataclass(frozen=True, slots=True)
class AttackResult:
    """The findings after one attack, with what they were found from."""

    attack: str
    findings: tuple[Finding, ...]
    counters: ExpectedCounters
    canary: CanaryReport

    @property
    def state(self) -> State:
        """The worst of the findings; unknown ones do not count."""
        states = {finding.state for finding in self.findings}
        return next((state for state in ("broke", "unproven") if state in states), "held")


class ChaosRunner:
    """Runs attacks. The metrics read after one are those that the next is compared with: no request is missed."""

    def __init__(self, config: ChaosConfig, scraper: Scraper, canary: CanaryProcess) -> None:
        self._config = config
        self._scraper = scraper
        self._canary = canary
        self._limits = config.limits
        self._first = self._before = ServerMetrics()

    async def run(self, attacks: Sequence[Attack], on_result: Callable[[AttackResult], None]) -> list[AttackResult]:
        """Raises ScrapeError when the metrics cannot be read at the start, and CanaryError."""
        self._first = self._before = await self._read_settled()
        baseline = Attack(BASELINE, "No attack: what is usual for the canary.", _wait)
        results = []
        for attack in (baseline, *attacks):
            result = await self._run_one(attack)
            results.append(result)
            on_result(result)
        return results

    async def _read_settled(self) -> ServerMetrics:
        """Metrics that have stopped growing: the canary's first requests may be answered and not counted yet."""
        loop, metrics = asyncio.get_running_loop(), await self._scraper.read()
        deadline = loop.time() + self._config.settle
        while loop.time() < deadline:
            await asyncio.sleep(_POLL_S)
            before, metrics = metrics, await self._scraper.read()
            if metrics.received == before.received:
                break
        return metrics

    async def _run_one(self, attack: Attack) -> AttackResult:
        config = self._config
        context = AttackContext(
            host=config.host,
            port=config.port,
            transport=config.transport,
            request=config.request,
            seed=f"{config.seed}/{attack.name}",
            end=asyncio.get_running_loop().time() + config.duration,
            load=config.load,
            timeout=config.timeout,
        )
        counters = context.counters
        self._canary.begin()
        took_place = await self._attack(attack, context)
        report = await self._canary.end()
        # The server's counters cannot tell the canary's requests from the attack's.
        counters.add_canary(report)
        # Only the baseline, the first to run, can find no bound.
        if not self._limits.canary:
            self._limits = replace(self._limits, canary=invariants.default_canary_bound(report))
        # Its request is entered in the counters too, before they are compared with the server's.
        answers = await _probe(context)
        findings = (
            took_place,
            invariants.check_canary(report, self._limits.canary),
            invariants.check_refusals(counters),
            answers,
            *await self._check_metrics(counters),
        )
        return AttackResult(attack.name, findings, counters, report)

    async def _attack(self, attack: Attack, context: AttackContext) -> Finding:
        """Whether it took place. The server's trouble does not count against that, ours does."""
        toxics = (*self._config.toxics, *attack.toxics)
        try:
            async with asyncio.timeout(self._config.duration + self._config.timeout + _OVERTIME_S):
                async with _through_proxy(context, toxics) if toxics else nullcontext(context) as reached:
                    await attack.run(reached)
        except ConnectionError:
            context.counters.disconnects += 1
        except TimeoutError:
            return Finding("attack", "unproven", "the attack did not come to its end")
        # `repeat` has a TaskGroup, which wraps what its workers raise.
        except (OSError, ExceptionGroup) as error:
            return Finding("attack", "unproven", f"the attack could not go on: {_own_error(error)}")
        return invariants.check_attack(context.counters)

    async def _check_metrics(self, counters: ExpectedCounters) -> list[Finding]:
        """The findings once all invariants hold and the counters rest, or when the time to settle is over.

        Where much is unknown, counters that still grow may be within their bounds; the next attack would then find
        the server out, wrongly.
        """
        loop, last = asyncio.get_running_loop(), None
        deadline = loop.time() + self._config.settle
        while True:
            is_last = loop.time() >= deadline
            after, findings = await self._compare(counters)
            is_settled = after.received == last and not any(finding.state == "broke" for finding in findings)
            if is_settled or is_last:
                self._before = after
                return findings
            last = after.received
            await asyncio.sleep(_POLL_S)

    async def _compare(self, counters: ExpectedCounters) -> tuple[ServerMetrics, list[Finding]]:
        """The metrics now and their findings; the ones before where there are none."""
        try:
            after = await self._scraper.read()
        except ScrapeError as error:
            return self._before, [Finding("page", "broke", f"the server's metrics cannot be read: {error}")]
        findings = invariants.check_metrics(
            first=self._first, before=self._before, after=after, counters=counters, limits=self._limits
        )
        return after, findings


async def _wait(context: AttackContext) -> None:
    await asyncio.sleep(context.left)
    context.counters.actions += 1


async def _probe(context: AttackContext) -> Finding:
    """Whether a new client is served after the attack."""
    try:
        async with context.client() as client:
            call, ending = client.begin(context.valid, context.timeout)
            await ending
    except ConnectionError as error:
        return invariants.check_answers(False, str(error))
    return invariants.check_answers(call.status == OK, f"status {call.status}, {call.details}")


@asynccontextmanager
async def _through_proxy(context: AttackContext, toxics: Sequence[ConfiguredToxic]) -> AsyncIterator[AttackContext]:
    proxy = Proxy(context.host, context.port, toxics, context.seed)
    async with proxy.listening() as port:
        yield replace(context, host="127.0.0.1", port=port)


def _own_error(error: OSError | ExceptionGroup[Exception]) -> Exception:
    """The first OSError; raises any other error, for that is a mistake in an attack."""
    if isinstance(error, OSError):
        return error
    own, others = error.split(OSError)
    if others is not None or own is None:
        raise error
    return own.exceptions[0]

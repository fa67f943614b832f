"""The attacks one after the other, each with the canary beside it and the promises behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from yais.clients.siege.chaos import promises
from yais.clients.siege.chaos.canary_process import CanaryProcess, CanaryReport
from yais.clients.siege.chaos.catalogue import Attack
from yais.clients.siege.chaos.doses import Dose
from yais.clients.siege.chaos.ledger import OK, Ledger
from yais.clients.siege.chaos.page import Page, Reader, UnreadablePageError
from yais.clients.siege.chaos.promises import Finding, State, Terms
from yais.clients.siege.chaos.proxy import Proxy
from yais.clients.siege.chaos.scene import Scene
from yais.clients.siege.transports import TransportName
from yais.proto.grpc_service_pb2 import ModelInferRequest

_POLL_S = 0.1
# How long an attack may go on after its time, beside what its last answers take.
_OVERTIME_S = 10.0
PEACE = "peace"


@dataclass(frozen=True, slots=True)
class Plan:
    """What all attacks have in common. Seconds, but for `terms`; a `canary` bound of 0 is found out in peace."""

    host: str
    port: int
    transport: TransportName
    request: ModelInferRequest
    seed: int
    duration: float
    load: int
    patience: float
    settle: float
    terms: Terms
    doses: tuple[Dose, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attack came to."""

    attack: str
    findings: tuple[Finding, ...]
    ledger: Ledger
    canary: CanaryReport

    @property
    def state(self) -> State:
        """The worst of the findings; what the server tells nothing of does not count."""
        states = {finding.state for finding in self.findings}
        return next((state for state in ("broke", "unproven") if state in states), "held")


class Course:
    """Goes through attacks. The counters of one are read after it and are where the next begins: none is missed."""

    def __init__(self, plan: Plan, reader: Reader, canary: CanaryProcess) -> None:
        self._plan = plan
        self._reader = reader
        self._canary = canary
        self._terms = plan.terms
        self._first = self._before = Page()

    async def run(self, attacks: Sequence[Attack], tell: Callable[[Outcome], None]) -> list[Outcome]:
        """Raises UnreadablePageError when the page cannot be read at the start, and CanaryError."""
        self._first = self._before = await self._rested()
        peace = Attack(PEACE, "No attack at all: what is usual for the canary.", _wait)
        outcomes = []
        for attack in (peace, *attacks):
            outcome = await self._one(attack)
            outcomes.append(outcome)
            tell(outcome)
        return outcomes

    async def _rested(self) -> Page:
        """A page that has stopped growing: the canary's first requests may be answered and not counted yet."""
        loop, page = asyncio.get_running_loop(), await self._reader.read()
        deadline = loop.time() + self._plan.settle
        while loop.time() < deadline:
            await asyncio.sleep(_POLL_S)
            before, page = page, await self._reader.read()
            if page.received == before.received:
                break
        return page

    async def _one(self, attack: Attack) -> Outcome:
        plan, end = self._plan, asyncio.get_running_loop().time() + self._plan.duration
        seed, ledger = f"{plan.seed}/{attack.name}", Ledger()
        scene = Scene(plan.host, plan.port, plan.transport, plan.request, seed, end, plan.load, plan.patience, ledger)
        self._canary.begin()
        attacked = await self._attacked(attack, scene)
        seen = await self._canary.end(ledger)
        if not self._terms.canary:
            self._terms = replace(self._terms, canary=promises.bound_of(seen))
        answers = await _probed(scene)
        findings = (attacked, promises.unharmed(seen, self._terms.canary), promises.refuses(ledger), answers)
        return Outcome(attack.name, (*findings, *await self._judged(ledger)), ledger, seen)

    async def _attacked(self, attack: Attack, scene: Scene) -> Finding:
        """Whether it took place; trouble of the server's is not a reason why not, trouble of ours is."""
        try:
            async with asyncio.timeout(self._plan.duration + self._plan.patience + _OVERTIME_S):
                async with _on_its_way(scene, (*self._plan.doses, *attack.doses)) as reached:
                    await attack.run(reached)
        except ConnectionError:
            scene.ledger.hangups += 1
        except TimeoutError:
            return Finding("attack", "unproven", "the attack did not come to its end")
        except (OSError, ExceptionGroup) as error:
            return Finding("attack", "unproven", f"the attack could not go on: {_ours(error)}")
        return promises.acted(scene.ledger)

    async def _judged(self, ledger: Ledger) -> list[Finding]:
        """Once all is as it should be and stays so, or after the time that the server has to settle.

        Where much is unknown, much is as it should be; a server that still counts would be found out by the next attack
        only, and for nothing.
        """
        loop, last = asyncio.get_running_loop(), None
        deadline = loop.time() + self._plan.settle
        while True:
            is_last = loop.time() >= deadline
            after, findings = await self._looked(ledger)
            is_settled = after.received == last and not any(finding.state == "broke" for finding in findings)
            if is_settled or is_last:
                self._before = after
                return findings
            last = after.received
            await asyncio.sleep(_POLL_S)

    async def _looked(self, ledger: Ledger) -> tuple[Page, list[Finding]]:
        """The page now and what is found on it; when there is none, the one before."""
        try:
            after = await self._reader.read()
        except UnreadablePageError as error:
            return self._before, [Finding("page", "broke", f"the server's figures cannot be read: {error}")]
        return after, promises.judge(self._first, self._before, after, ledger, self._terms)


async def _wait(scene: Scene) -> None:
    await asyncio.sleep(scene.left)
    scene.ledger.acts += 1


async def _probed(scene: Scene) -> Finding:
    """Whether a new client is served after the attack."""
    try:
        async with scene.caller() as caller:
            call, ending = caller.begin(scene.right, scene.patience)
            await ending
    except ConnectionError as error:
        return promises.answers(False, str(error))
    return promises.answers(call.status == OK, f"status {call.status}, {call.details}")


@asynccontextmanager
async def _on_its_way(scene: Scene, doses: Sequence[Dose]) -> AsyncIterator[Scene]:
    """The scene as the attack meets it: through a proxy, when there are doses."""
    if not doses:
        yield scene
        return
    proxy = Proxy(scene.host, scene.port, doses, scene.seed)
    async with proxy.listening() as port:
        yield replace(scene, host="127.0.0.1", port=port)


def _ours(error: OSError | ExceptionGroup[Exception]) -> Exception:
    """The first of our own troubles; raises whatever is none, for that is a mistake in an attack."""
    if isinstance(error, OSError):
        return error
    ours, others = error.split(OSError)
    if others is not None or ours is None:
        raise error
    return ours.exceptions[0]

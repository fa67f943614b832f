"""Where an attack takes place: the server, the request, the time there is, and who writes down what happens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from yais.clients.channel import join_address as address
from yais.clients.siege.chaos import peer
from yais.clients.siege.chaos.ledger import Ledger, Shot
from yais.clients.siege.chaos.peer import METHOD, Peer
from yais.clients.siege.transports import Call, TransportName
from yais.clients.siege.transports import UnaryCallable as Line
from yais.clients.siege.transports import open_callable as open_line
from yais.proto.grpc_service_pb2 import ModelInferRequest

CANCELLED = 1
# What fits into a connection's first window, and leaves room for others.
_SMALL = 16_384
# Between two acts of a worker; an attack is not to be an overload, for which no server can be blamed.
_PAUSE_S = 0.005

Act = Callable[[Random], Awaitable[None]]


@dataclass(slots=True)
class Scene:
    """What an attack is given. `end` is a time of the event loop, `patience` are seconds for one answer.

    `load` is the most requests that the attack has under way, and the most connections that it keeps.
    """

    host: str
    port: int
    transport: TransportName
    request: ModelInferRequest
    seed: str
    end: float
    load: int = 32
    patience: float = 10.0
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.end

    @property
    def left(self) -> float:
        """Seconds."""
        return max(self.end - asyncio.get_running_loop().time(), 0.0)

    @property
    def right(self) -> Shot:
        return Shot(self.request.SerializeToString())

    @property
    def small(self) -> Shot:
        """The right request, or one without inputs where that is too large for frames that heed no window."""
        if len(self.right.body) <= _SMALL:
            return self.right
        bare = ModelInferRequest(model_name=self.request.model_name, model_version=self.request.model_version)
        return Shot(bare.SerializeToString(), "a request without inputs", is_right=False)

    def peer(self) -> AbstractAsyncContextManager[Peer]:
        return peer.connected(self.host, self.port)

    @asynccontextmanager
    async def caller(self, within: float | None = None) -> AsyncIterator["Caller"]:
        """One with a channel of its own, which is connected; `within` so many seconds, or with the usual patience."""
        patience = self.patience if within is None else min(within, self.patience)
        channel, line = open_line(self.transport, address(self.host, self.port), METHOD)
        async with channel:
            try:
                await asyncio.wait_for(channel.channel_ready(), patience)
            except TimeoutError:
                raise ConnectionError(f"no connection within {patience:g} s") from None
            yield Caller(line, self.ledger)

    async def ask(self, peer: Peer, shot: Shot, limit: str | None = None) -> int | None:
        """The status of one request in bare frames; its grpc-timeout is `limit`, which only the server watches."""
        stream, status = peer.open_stream(), None
        # Before it is sent: of what a lost connection took along, nobody knows how much arrived.
        self.ledger.sent(shot)
        try:
            await peer.send(peer.request(stream, shot, limit))
            status = await asyncio.wait_for(peer.ended(stream), self.patience)
        except TimeoutError:
            suffix = "" if limit is None else f" to a timeout of {limit}"
            self.ledger.surprises[f"no answer within {self.patience:g} s{suffix}"] += 1
        finally:
            self.ledger.ended(shot, status)
        return status

    async def repeat(self, act: Act, workers: int = 4) -> None:
        """Has so many workers act, time after time. A server that hangs up on one is called anew; OSError is ours."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(act, Random(f"{self.seed}/{number}")))

    async def _work(self, act: Act, random: Random) -> None:
        limit = asyncio.timeout_at(self.end + self.patience)
        try:
            async with limit:
                while not self.is_over:
                    await self._act(act, random)
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            # A server may well leave off reading from an attacker, who then gives up.
            if not limit.expired():
                raise

    async def _act(self, act: Act, random: Random) -> None:
        try:
            await act(random)
            self.ledger.acts += 1
        except (ConnectionError, EOFError):
            self.ledger.hangups += 1


class Caller:
    """Calls on one channel, each of them entered in the ledger."""

    def __init__(self, line: Line, ledger: Ledger) -> None:
        self._line = line
        self._ledger = ledger
        self._waiting: dict[Call, tuple[Shot, asyncio.Future[int]]] = {}

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def begin(self, shot: Shot, limit: float) -> tuple[Call, asyncio.Future[int]]:
        """Sends it, with `limit` seconds for it; the future is the status that the call ends with."""
        call = self._line(shot.body, self._ended, limit)
        self._ledger.sent(shot)
        ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[call] = shot, ending
        return call, ending

    async def call(self, shot: Shot, limit: float) -> int:
        return await self.begin(shot, limit)[1]

    async def idle(self) -> None:
        """Waits until nothing is under way."""
        if self._waiting:
            await asyncio.wait([ending for _, ending in self._waiting.values()])

    def _ended(self, call: Call) -> None:
        shot, ending = self._waiting.pop(call)
        self._ledger.ended(shot, call.status)
        if not ending.done():
            ending.set_result(call.status)

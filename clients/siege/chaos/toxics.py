"""What a proxy does to the bytes of one direction of a connection; the names are those of Shopify's toxiproxy.

A toxic makes a stream of chunks of another one. Ends of streams pass through it as everything else does.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

_SLICES_A_SECOND = 20


class Chunk(NamedTuple):
    """Bytes, and when they came, in seconds of the link's clock; a toxic that delays them says so here."""

    data: bytes
    at: float


Chunks = AsyncIterator[Chunk]


class Link(Protocol):
    """One connection through the proxy, as its toxics see it; times are in seconds."""

    random: Random

    @property
    def now(self) -> Callable[[], float]: ...

    @property
    def sleep(self) -> Callable[[float], Awaitable[object]]: ...

    def later(self, seconds: float, act: Callable[[], None]) -> None: ...

    def close(self) -> None:
        """Ends both sides with FIN."""

    def reset(self) -> None:
        """Ends both sides with RST."""

    async def closed(self) -> None:
        """Waits until it is over."""


class Toxic(Protocol):
    """Gives the chunks that come out of it; it has no state, a stream's is in the generator."""

    def apply(self, chunks: Chunks, link: Link) -> Chunks: ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Each chunk comes `delay` seconds later, more or less by up to `jitter`; none overtakes another."""

    delay: float
    jitter: float = 0.0

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        async for chunk in chunks:
            at = chunk.at + max(self.delay + link.random.uniform(-self.jitter, self.jitter), 0.0)
            await link.sleep(max(at - link.now(), 0.0))
            yield Chunk(chunk.data, at)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """At most `rate` bytes a second."""

    rate: float

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        size = max(int(self.rate / _SLICES_A_SECOND), 1)
        async for chunk in chunks:
            for start in range(0, len(chunk.data), size):
                piece = chunk.data[start : start + size]
                await link.sleep(len(piece) / self.rate)
                yield Chunk(piece, link.now())


@dataclass(frozen=True, slots=True)
class Slicer:
    """Pieces of 1 to `size` bytes, `delay` seconds apart."""

    size: int
    delay: float = 0.0

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        async for chunk in chunks:
            rest = chunk.data
            while rest:
                cut = link.random.randint(1, self.size)
                yield Chunk(rest[:cut], link.now())
                rest = rest[cut:]
                await link.sleep(self.delay)


@dataclass(frozen=True, slots=True)
class Reset:
    """RST to both sides `after` seconds from the connection's beginning."""

    after: float = 0.0

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        link.later(self.after, link.reset)
        async for chunk in chunks:
            yield chunk


@dataclass(frozen=True, slots=True)
class Timeout:
    """Nothing comes through, and `after` seconds from its beginning the connection is closed."""

    after: float

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        link.later(self.after, link.close)
        async for chunk in Blackhole().apply(chunks, link):
            yield chunk


@dataclass(frozen=True, slots=True)
class Blackhole:
    """Nothing comes through, not even the end."""

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        async for chunk in chunks:
            yield Chunk(b"", chunk.at)
        await link.closed()


@dataclass(frozen=True, slots=True)
class SlowClose:
    """The end comes `delay` seconds late."""

    delay: float

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        async for chunk in chunks:
            yield chunk
        await link.sleep(self.delay)


@dataclass(frozen=True, slots=True)
class LimitData:
    """The connection is closed after so many bytes."""

    most: int

    async def apply(self, chunks: Chunks, link: Link) -> Chunks:
        left = self.most
        async for chunk in chunks:
            yield Chunk(chunk.data[:left], chunk.at)
            left -= len(chunk.data)
            if left <= 0:
                link.close()
                return

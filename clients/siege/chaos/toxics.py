"""Toxics: what a proxy does to the bytes of one stream of a connection, by the names of Shopify's toxiproxy.

A toxic turns one stream of chunks into another. Ends of streams pass through it as everything else does. The command
line spells one as `latency:50ms:10ms:0.5:down`.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, NamedTuple, Protocol, get_args

# Small enough for an even flow, large enough not to wake up for each byte.
_SLICES_A_SECOND = 20
Stream = Literal["up", "down", "both"]

_MEASURE = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]+)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_BYTES = {"B": 1, "KB": 1000, "MB": 10**6, "KiB": 2**10, "MiB": 2**20}


class Chunk(NamedTuple):
    """Bytes, and when they came, in seconds of the link's clock; a toxic that delays them says so here."""

    data: bytes
    at: float


Chunks = AsyncIterator[Chunk]


class ToxicLink(Protocol):
    """One connection through the proxy, as its toxics see it; times are in seconds."""

    random: Random

    @property
    def now(self) -> Callable[[], float]: ...

    @property
    def sleep(self) -> Callable[[float], Awaitable[object]]: ...

    def later(self, seconds: float, action: Callable[[], None]) -> None: ...

    def close(self) -> None:
        """Ends both sides with FIN."""

    def reset(self) -> None:
        """Ends both sides with RST."""

    async def closed(self) -> None:
        """Waits until it is over."""


class Toxic(Protocol):
    """Gives the chunks that come out of it; it has no state, a stream's is in the generator."""

    def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks: ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Each chunk comes `delay` seconds later, more or less by up to `jitter`; none overtakes another."""

    delay: float
    jitter: float = 0.0

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        async for chunk in chunks:
            # From when the chunk came, not from now: chunks in a row are not delayed by the sum, as in toxiproxy.
            at = chunk.at + max(self.delay + link.random.uniform(-self.jitter, self.jitter), 0.0)
            await link.sleep(max(at - link.now(), 0.0))
            yield Chunk(chunk.data, at)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """At most `rate` bytes a second."""

    rate: float

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        # toxiproxy sends a chunk per 100 ms; half of that here, for an even flow.
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

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        async for chunk in chunks:
            rest = chunk.data
            while rest:
                # toxiproxy's slicer has an average size and a variation; here there is one bound.
                cut = link.random.randint(1, self.size)
                yield Chunk(rest[:cut], link.now())
                rest = rest[cut:]
                await link.sleep(self.delay)


@dataclass(frozen=True, slots=True)
class Reset:
    """RST to both sides `after` seconds from the connection's beginning."""

    after: float = 0.0

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        link.later(self.after, link.reset)
        async for chunk in chunks:
            yield chunk


@dataclass(frozen=True, slots=True)
class Timeout:
    """Nothing comes through, and `after` seconds from its beginning the connection is closed."""

    after: float

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        # toxiproxy's timeout of 0 never closes; that is `blackhole` here.
        link.later(self.after, link.close)
        async for chunk in Blackhole().apply(chunks, link):
            yield chunk


@dataclass(frozen=True, slots=True)
class Blackhole:
    """Nothing comes through, not even the end."""

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        async for chunk in chunks:
            # Read and dropped, as by toxiproxy's timeout, so that the sender's TCP window stays open.
            yield Chunk(b"", chunk.at)
        # To end here would pass the end on, as a FIN.
        await link.closed()


@dataclass(frozen=True, slots=True)
class SlowClose:
    """The end comes `delay` seconds late."""

    delay: float

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        async for chunk in chunks:
            yield chunk
        await link.sleep(self.delay)


@dataclass(frozen=True, slots=True)
class LimitData:
    """The connection is closed after so many bytes."""

    most: int

    async def apply(self, chunks: Chunks, link: ToxicLink) -> Chunks:
        left = self.most
        async for chunk in chunks:
            yield Chunk(chunk.data[:left], chunk.at)
            # Counted per stream, as toxiproxy counts per link.
            left -= len(chunk.data)
            if left <= 0:
                link.close()
                return


@dataclass(frozen=True, slots=True)
class ConfiguredToxic:
    """A toxic, the share of the connections that it applies to, and the direction; up is to the server."""

    toxic: Toxic
    toxicity: float = 1.0
    stream: Stream = "both"


class ToxicSpec(NamedTuple):
    """The spelling of a toxic: the units of its measures, of which the first `needed` cannot be left out."""

    make: Callable[..., Toxic]
    names: tuple[str, ...] = ()
    units: tuple[Mapping[str, float], ...] = ()
    needed: int = 0


TOXICS: Mapping[str, ToxicSpec] = {
    "latency": ToxicSpec(Latency, ("DELAY", "JITTER"), (_SECONDS, _SECONDS), 1),
    "bandwidth": ToxicSpec(Bandwidth, ("BYTES-A-SECOND",), (_BYTES,), 1),
    "slicer": ToxicSpec(lambda size, delay=0.0: Slicer(int(size), delay), ("SIZE", "DELAY"), (_BYTES, _SECONDS), 1),
    "reset": ToxicSpec(Reset, ("AFTER",), (_SECONDS,)),
    "timeout": ToxicSpec(Timeout, ("AFTER",), (_SECONDS,), 1),
    "blackhole": ToxicSpec(Blackhole),
    "slow-close": ToxicSpec(SlowClose, ("DELAY",), (_SECONDS,), 1),
    "limit-data": ToxicSpec(lambda size: LimitData(int(size)), ("SIZE",), (_BYTES,), 1),
}


def parse_toxic(text: str) -> ConfiguredToxic:
    """Raises ValueError, which says what it should be, for what is no toxic."""
    name, *words = text.split(":")
    if name not in TOXICS:
        raise ValueError(f"{text!r}: no toxic is called {name!r}; there are {', '.join(TOXICS)}")
    spec = TOXICS[name]
    measures = _measures(spec.units, words)
    # What follows the measures is optional, and recognised by its form: a number without a unit, or a direction.
    rest = words[len(measures) :]
    stream: Any = rest.pop() if rest and rest[-1] in get_args(Stream) else "both"
    toxicity = _toxicity(rest.pop()) if rest else 1.0
    if rest or toxicity is None or len(measures) < spec.needed:
        raise ValueError(f"{text!r} is not {usage(name)}")
    return ConfiguredToxic(spec.make(*measures), toxicity, stream)


def usage(name: str) -> str:
    spec = TOXICS[name]
    words = [f":{word}" if index < spec.needed else f"[:{word}]" for index, word in enumerate(spec.names)]
    return "".join((name, *words, "[:TOXICITY][:up|down|both]"))


def _measures(units: Sequence[Mapping[str, float]], words: Sequence[str]) -> list[float]:
    """The leading words that are numbers with the units that are due; a size is at least one byte."""
    measures: list[float] = []
    for allowed, word in zip(units, words, strict=False):
        match = _MEASURE.fullmatch(word)
        if match is None or match[2] not in allowed:
            break
        measure = float(match[1]) * allowed[match[2]]
        if allowed is _BYTES and measure < 1:
            break
        measures.append(measure)
    return measures


def _toxicity(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None

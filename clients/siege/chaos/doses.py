"""Toxics as the command line spells them: `latency:50ms:10ms:0.5:down`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from yais.clients.siege.chaos.toxics import (
    Bandwidth,
    Blackhole,
    Latency,
    LimitData,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

Direction = Literal["up", "down", "both"]

_MEASURE = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]+)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_BYTES = {"B": 1, "KB": 1000, "MB": 10**6, "KiB": 2**10, "MiB": 2**20}


@dataclass(frozen=True, slots=True)
class Dose:
    """A toxic, for how many of the connections (0 to 1), and which way: up is from the client to the server."""

    toxic: Toxic
    probability: float = 1.0
    direction: Direction = "both"


class Kind(NamedTuple):
    """How a toxic is spelled: the units of its measures, of which the first `needed` cannot be left out."""

    make: Callable[..., Toxic]
    names: tuple[str, ...] = ()
    units: tuple[Mapping[str, float], ...] = ()
    needed: int = 0


KINDS = {
    "latency": Kind(Latency, ("DELAY", "JITTER"), (_SECONDS, _SECONDS), 1),
    "bandwidth": Kind(Bandwidth, ("BYTES-A-SECOND",), (_BYTES,), 1),
    "slicer": Kind(lambda size, delay=0.0: Slicer(int(size), delay), ("SIZE", "DELAY"), (_BYTES, _SECONDS), 1),
    "reset": Kind(Reset, ("AFTER",), (_SECONDS,)),
    "timeout": Kind(Timeout, ("AFTER",), (_SECONDS,), 1),
    "blackhole": Kind(Blackhole),
    "slow-close": Kind(SlowClose, ("DELAY",), (_SECONDS,), 1),
    "limit-data": Kind(lambda size: LimitData(int(size)), ("SIZE",), (_BYTES,), 1),
}


def parse(text: str) -> Dose:
    """Raises ValueError, which says what it should be, for what is no toxic."""
    name, *words = text.split(":")
    if name not in KINDS:
        raise ValueError(f"{text!r}: no toxic is called {name!r}; there are {', '.join(KINDS)}")
    kind = KINDS[name]
    measures = _measures(kind.units, words)
    rest = words[len(measures) :]
    direction: Any = rest.pop() if rest and rest[-1] in get_args(Direction) else "both"
    probability = _probability(rest.pop()) if rest else 1.0
    if rest or probability is None or len(measures) < kind.needed:
        raise ValueError(f"{text!r} is not {usage(name)}")
    return Dose(kind.make(*measures), probability, direction)


def usage(name: str) -> str:
    kind = KINDS[name]
    words = [f":{word}" if index < kind.needed else f"[:{word}]" for index, word in enumerate(kind.names)]
    return "".join((name, *words, "[:PROBABILITY][:up|down|both]"))


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


def _probability(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None

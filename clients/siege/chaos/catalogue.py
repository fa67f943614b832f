"""All attacks, by name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import cleandoc

from yais.clients.siege.chaos import cancels, connections, loads, wrongs
from yais.clients.siege.chaos.doses import Dose, parse
from yais.clients.siege.chaos.scene import Scene

# One of each toxic, for the connections of well-behaved clients.
_THROUGH = (
    "latency:50ms:40ms",
    "bandwidth:20KB",
    "slicer:8B:1ms",
    "reset:20ms:0.5",
    "timeout:200ms:0.5",
    "blackhole:0.3",
    "slow-close:200ms",
    "limit-data:400B:0.7",
)


@dataclass(frozen=True, slots=True)
class Attack:
    """Runs until the scene is over; its connections go through a proxy with `doses`, if there are any."""

    name: str
    text: str
    run: Callable[[Scene], Awaitable[None]]
    doses: tuple[Dose, ...] = ()


def _attack(name: str, run: Callable[[Scene], Awaitable[None]]) -> Attack:
    return Attack(name, cleandoc(run.__doc__ or "").splitlines()[0], run)


def _through(spelled: str) -> Attack:
    text = f"Right requests through a proxy with {spelled}."
    return Attack(f"through-{spelled.partition(':')[0]}", text, loads.through, (parse(spelled),))


def catalogue() -> dict[str, Attack]:
    """In the order in which they are run when none is chosen."""
    attacks = [
        _attack("random-rate", loads.random_rate),
        _attack("pulses", loads.pulses),
        _attack("cancel", cancels.cancel),
        _attack("cancel-storm", cancels.storm),
        _attack("timeouts", cancels.timeouts),
        _attack("oversize", wrongs.oversize),
        _attack("truncated", wrongs.truncated),
        _attack("mistyped", wrongs.mistyped),
        _attack("unknown-models", wrongs.unknown_models),
        _attack("never-reads", connections.never_reads),
        _attack("half-open", connections.half_open),
        _attack("churn", connections.churn),
        _attack("garbage", connections.garbage),
        *map(_through, _THROUGH),
    ]
    return {attack.name: attack for attack in attacks}

"""What a sending process and its parent tell each other."""

from dataclasses import dataclass
from typing import Literal

from yais.clients.siege.run import Sent
from yais.clients.siege.views.glance import Glance
from yais.clients.stats.recorder import Tally

Order = int | Literal["stop", "cancel"]
"""Begin at this time of the monotonic clock, which all processes share; send no more; end what is in flight."""


@dataclass(frozen=True, slots=True)
class Connected:
    """It waits for the order to begin."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """It holds the first request back."""


@dataclass(frozen=True, slots=True)
class Ended:
    """All it was to send has ended."""

    tally: Tally
    sent: Sent


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot go on, and is about to exit; `text` is for the user."""

    text: str


Message = Connected | HeldBack | Glance | Ended | Failed

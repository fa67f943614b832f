"""What siege sends: requests as the bytes they are on the wire, one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

from yais.clients.inputs.workload import WeightedChoice, draw

INFER = "/inference.GRPCInferenceService/ModelInfer"


class Requests:
    """An endless row of requests to `method`, drawn from `choices` of them by a seed.

    A request is the index of its kind, of which `kinds` has the names, and its bytes. `next()` gives the next one.
    """

    def __init__(
        self, method: str, kinds: tuple[str, ...], choices: Sequence[WeightedChoice[tuple[int, bytes]]], *seed: int
    ) -> None:
        self.method = method
        self.kinds = kinds
        self._choices = tuple(choices)
        self._seed = seed
        # Not a method around it: a call of Python's would cost as much again.
        self.next: Callable[[], tuple[int, bytes]] = draw(self._choices, *seed).__next__

    def for_process(self, index: int) -> "Requests":
        """The same requests, drawn in an order of its own for each of several processes."""
        return Requests(self.method, self.kinds, self._choices, *self._seed, index)

    @property
    def named(self) -> dict[str, bytes]:
        """Every request there is, named after its kind and its place among that kind's: `mlp/3`."""
        requests: dict[str, bytes] = {}
        counts = [0] * len(self.kinds)
        for kind, request in (turn for choice in self._choices for turn in choice.items):
            requests[f"{self.kinds[kind]}/{counts[kind]}"] = request
            counts[kind] += 1
        return requests

    def __reduce__(self) -> tuple[Any, ...]:
        return Requests, (self.method, self.kinds, self._choices, *self._seed)

"""One model on several GPUs: an engine on each, over which contexts are spread in turn."""

from collections.abc import Sequence

from yais.engines.base import Context, Engine, TensorSpec


class SpreadEngine:
    """`engines` are of one file, each on a device of its own."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._made = 0

    @property
    def platform(self) -> str:
        return self._engines[0].platform

    @property
    def device(self) -> str:
        return ",".join(engine.device for engine in self._engines)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._engines[0].inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._engines[0].outputs

    @property
    def max_batch_size(self) -> int:
        return min(engine.max_batch_size for engine in self._engines)

    def create_context(self) -> Context:
        engine = self._engines[self._made % len(self._engines)]
        self._made += 1
        return engine.create_context()

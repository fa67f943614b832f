"""Runs that do not end: a GPU that hangs fails nothing, and tells nobody."""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic_ns

from yais.server.errors import LostDeviceError
from yais.server.model import Model

_PERIOD_S = 1.0


async def watch(models: Iterable[Model], longest: float, on_lost: Callable[[LostDeviceError], None]) -> None:
    """Looks at the runs of `models` until one has gone on for `longest` seconds, which `on_lost` is told; then ends."""
    while True:
        await asyncio.sleep(min(_PERIOD_S, longest))
        for model in models:
            if model.oldest_run is not None and monotonic_ns() - model.oldest_run >= longest * 1e9:
                text = f"a run of '{model.name}' on {model.engine.device} goes on for {longest:g} s (--run-timeout)"
                return on_lost(LostDeviceError(text))

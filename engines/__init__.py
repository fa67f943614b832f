"""Engines, which run models: backends behind one contract, and the files they open."""

from yais.engines.base import (
    Array,
    Context,
    Device,
    DeviceLostError,
    Engine,
    EngineError,
    EngineOptions,
    InvalidInputError,
    Run,
    Shape,
    TensorSpec,
)
from yais.engines.open import needs_gpu, open_engine

__all__ = [
    "Array",
    "Context",
    "Device",
    "DeviceLostError",
    "Engine",
    "EngineError",
    "EngineOptions",
    "InvalidInputError",
    "Run",
    "Shape",
    "TensorSpec",
    "needs_gpu",
    "open_engine",
]

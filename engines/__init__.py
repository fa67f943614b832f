"""What runs a model: backends behind one contract, and the files they open."""

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
from yais.engines.files import open_engine

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
    "open_engine",
]

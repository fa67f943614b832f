"""What runs a model: backends behind one contract, and the files they open."""

from yais.engines.base import Array, Context, Engine, EngineError, EngineOptions, InvalidInputError, Shape, TensorSpec
from yais.engines.files import open_engine

__all__ = [
    "Array",
    "Context",
    "Engine",
    "EngineError",
    "EngineOptions",
    "InvalidInputError",
    "Shape",
    "TensorSpec",
    "open_engine",
]

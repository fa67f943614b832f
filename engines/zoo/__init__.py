"""Models that `engine-build` makes: a real classifier to demonstrate with, and others to measure with."""

from yais.engines.base import EngineError


class BuildError(EngineError):
    """A model that could not be built or written; the message names the file or package and why."""

"""The models that `engine-build` makes: a real classifier to demonstrate with, and others to measure with."""


class BuildError(Exception):
    """A model that could not be built or written; the message names the file or package and why."""

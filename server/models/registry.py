"""Registry of the models that are served, found by name and version."""

import re
from collections.abc import Iterator

from yais.server.errors import InvalidRequestError, NotFoundError
from yais.server.models.model import Model

_INT64_MAX = 2**63 - 1
# What C's `stol` reads, since Triton hands a version to it: leading blanks, a sign, digits; the rest is ignored.
_LEADING_INTEGER = re.compile(r"\s*([+-]?)0*(\d+)", re.ASCII)
_INT64_DIGITS = 19


class Registry:
    """All models of one server, each in one version."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def add(self, model: Model) -> None:
        self._models[model.name] = model

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def get(self, name: str) -> Model | None:
        return self._models.get(name)

    def find(self, name: str, version: str) -> Model:
        """The model; `version` may be empty. Raises `InvalidRequestError` or `NotFoundError` with Triton's texts."""
        model = self._models.get(name)
        if model is not None and version in ("", model.version):
            return model
        # A version that is none is reported before a model that is unknown, as Triton does.
        number = parse_version(version)
        if model is None:
            raise NotFoundError(f"Request for unknown model: '{name}' is not found")
        if number != int(model.version):
            raise NotFoundError(f"Request for unknown model: '{name}' version {number} is not found")
        return model


def parse_version(version: str) -> int | None:
    """A version as a number, None for "" (the newest). Raises `InvalidRequestError` when it is none."""
    if not version:
        return None
    match = _LEADING_INTEGER.match(version)
    if match is None or len(match[2]) > _INT64_DIGITS or int(match[2]) > _INT64_MAX:
        raise InvalidRequestError(
            f"failed to get model version from specified version string '{version}' (details: stol), "
            "version should be an integral value > 0"
        )
    number = int(match[1] + match[2])
    if number < 0:
        raise InvalidRequestError(
            f"invalid model version specified '{version}' , version should be an integral value > 0"
        )
    return number

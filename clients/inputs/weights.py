"""Weights as the options write them: `mlp=3,identity=1`."""

import math


def parse_weights(text: str, separator: str) -> dict[str, float]:
    """The weights by name, in the order of `text`; 1 where none is given. Raises ValueError, naming what is wrong."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, weight = _parse(part.strip(), separator)
        if name in weights:
            raise ValueError(f"{name!r} is there twice")
        weights[name] = weight
    return weights


def _parse(part: str, separator: str) -> tuple[str, float]:
    name, found, text = part.rpartition(separator)
    if not found:
        name, text = part, "1"
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not name or not 0 < weight < math.inf:
        raise ValueError(f"{part!r} is not NAME{separator}WEIGHT with a weight above 0")
    return name, weight

"""How what is special to a build is written on the command line."""

import re
from pathlib import Path
from typing import Any

import click

from yais.engines.base import Shape
from yais.engines.builder.profiles import ShapeRange
from yais.engines.zoo import BuildError
from yais.engines.zoo.catalogue import CATALOGUE

_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class Source(click.ParamType[str]):
    """The name of a model, or a file."""

    name = "source"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in CATALOGUE and not Path(value).is_file():
            names = ", ".join(map(repr, CATALOGUE))
            self.fail(f"{value!r} is not one of {names}, and no such file", param, ctx)
        return str(value)


class Size(click.ParamType[int]):
    """A number of bytes such as `1048576`, `64M` or `64MiB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9]\d{0,14})\s*([KMG]i?|)B?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a size; write a number and one of K, M, G, Ki, Mi, Gi", param, ctx)
        return int(match[1]) * _BYTES[match[2]]


class NamedShape(click.ParamType[tuple[str, ShapeRange]]):
    """The bounds of an input's dimensions, such as `tokens=16:128:512` or `picture=3x64x64:3x224x224:3x512x512`."""

    name = "name=min:opt:max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ShapeRange]:
        name, _, bounds = str(value).rpartition("=")
        texts = bounds.split(":")
        if not name or len(texts) != 3 or not all(re.fullmatch(r"\d{1,9}(x\d{1,9})*", text) for text in texts):
            self.fail(f"{value!r} is not NAME=MIN:OPT:MAX, with bounds such as 128 or 3x64x64", param, ctx)
        try:
            return name, ShapeRange(*map(_shape, texts))
        except BuildError as error:
            self.fail(str(error), param, ctx)


class Capability(click.ParamType[str]):
    """A compute capability such as `8.6`, or `current` for that of the GPU that is there."""

    name = "x.y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"\d{1,2}\.\d|current", str(value)):
            self.fail(f"{value!r} is neither a compute capability such as 8.6 nor 'current'", param, ctx)
        return str(value)


def _shape(text: str) -> Shape:
    return tuple(map(int, text.split("x")))

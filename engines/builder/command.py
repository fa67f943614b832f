"""Command line of `engine-build`: the values of its options, and what one call of it asks for."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from yais.engines.builder.options import BuildOptions
from yais.engines.builder.output import default_path, write_whole
from yais.engines.builder.profiles import BatchRange, ShapeRange
from yais.engines.zoo import BuildError
from yais.engines.zoo.catalogue import CATALOGUE, Recipe

PLANS = (".engine", ".plan")
# Options that only some recipes have, with what is said of the others.
_OF_RECIPES = {"pixels": "takes no pictures", "seed": "has no seeded weights"}
_OF_BATCHES = ("min_batch", "opt_batch", "max_batch")
# Options that are those of `BuildOptions`.
_OF_BUILDS = (
    "precision",
    "calibration",
    "calibration_pictures",
    "calibration_scaling",
    "workspace",
    "optimization_level",
    "version_compatible",
    "hardware_compatible",
    "weight_streaming",
    "timing_cache",
    "capabilities",
)
# The four about precision make an ONNX file another one as well.
_OF_PLANS = {*_OF_BUILDS[4:], "min_batch", "opt_batch", "shapes", "no_timing_cache", "tensorrt"}
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class SourceParam(click.ParamType[str]):
    """The name of a model, or a file."""

    name = "source"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in CATALOGUE and not Path(value).is_file():
            names = ", ".join(map(repr, CATALOGUE))
            self.fail(f"{value!r} is not one of {names}, and no such file", param, ctx)
        return str(value)


class SizeParam(click.ParamType[int]):
    """A number of bytes such as `1048576`, `64M` or `64MiB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9]\d{0,14})\s*([KMG]i?|)B?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a size; write a number and one of K, M, G, Ki, Mi, Gi", param, ctx)
        return int(match[1]) * _BYTES[match[2]]


class ShapeParam(click.ParamType[tuple[str, ShapeRange]]):
    """The bounds of an input's dimensions, such as `tokens=16:128:512` or `picture=3x64x64:3x224x224:3x512x512`."""

    name = "name=min:opt:max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ShapeRange]:
        name, _, bounds = str(value).rpartition("=")
        texts = bounds.split(":")
        if not name or len(texts) != 3 or not all(re.fullmatch(r"\d{1,9}(x\d{1,9})*", text) for text in texts):
            self.fail(f"{value!r} is not NAME=MIN:OPT:MAX, with bounds such as 128 or 3x64x64", param, ctx)
        try:
            return name, ShapeRange(*(tuple(map(int, text.split("x"))) for text in texts))
        except BuildError as error:
            self.fail(str(error), param, ctx)


class CapabilityParam(click.ParamType[str]):
    """A compute capability such as `8.6`, or `current` for that of the GPU that is there."""

    name = "x.y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"\d{1,2}\.\d|current", str(value)):
            self.fail(f"{value!r} is neither a compute capability such as 8.6 nor 'current'", param, ctx)
        return str(value)


@dataclass(frozen=True, slots=True)
class BuildCommand:
    """`given` are the options that were given; `flags` is how they are written. `check` comes first."""

    source: str
    output: Path | None
    dry_run: bool
    given: Mapping[str, Any]
    flags: Mapping[str, str]

    @property
    def recipe(self) -> Recipe | None:
        return CATALOGUE.get(self.source)

    @property
    def is_plan(self) -> bool:
        # A dry run asks TensorRT's parser, whatever file would be written.
        suffix = self.output.suffix if self.output else ".onnx" if self.recipe else PLANS[0]
        return self.dry_run or suffix.lower() in PLANS

    @property
    def name(self) -> str:
        """The model's, with what makes it another than the catalogue's or the file's."""
        name = self.source if self.recipe else Path(self.source).stem
        changes = "-uint8" if self.given.get("pixels") == "uint8" else ""
        return f"{name}{changes}-{self.given['precision']}" if "precision" in self.given else name + changes

    @property
    def path(self) -> Path:
        if self.output is not None:
            return self.output
        return default_path(self.name) if self.recipe else Path(self.source).with_suffix(PLANS[0])

    @property
    def batch(self) -> int:
        """The largest batch of a recipe's model."""
        return max(self.given.get("max_batch", ()), default=self.recipe.max_batch_size if self.recipe else 0)

    def options(self) -> BuildOptions:
        """Raises `BuildError` for ranges that are none."""
        given = {name: self.given[name] for name in _OF_BUILDS if name in self.given}
        if self.is_plan and not self.dry_run and not {"timing_cache", "no_timing_cache"} & self.given.keys():
            given["timing_cache"] = self.path.with_suffix(".timing")
        bounds = dict(zip(("minimum", "optimum", "maximum"), _OF_BATCHES, strict=True))
        rows = {bound: self.given[name] for bound, name in bounds.items() if name in self.given}
        # The first of each flag belong together, and so on.
        counts = sorted({len(values) for values in rows.values()})
        if len(counts) > 1:
            raise BuildError("--min-batch, --opt-batch, --max-batch: those that are given must be given equally often")
        batches = tuple(
            BatchRange(**{bound: values[index] for bound, values in rows.items()})
            for index in range(counts[0] if counts else 0)
        )
        return BuildOptions(**given, batches=batches, shapes=dict(self.given.get("shapes", ())))

    def onnx(self) -> bytes:
        """The recipe's ONNX file."""
        assert self.recipe is not None
        return self.recipe.build(self.batch, {name: self.given[name] for name in _OF_RECIPES if name in self.given})

    @contextmanager
    def file(self) -> Iterator[Path]:
        """An ONNX file of the model: the source, or made by its recipe for as long as it is used."""
        if self.recipe is None:
            yield Path(self.source)
            return
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{self.source}.onnx"
            write_whole(path, self.onnx())
            yield path

    def check(self) -> None:
        """Raises `click.UsageError` for what does not fit together, whatever is in the files."""
        for flag, path in (("--output", self.output), ("--timing-cache", self.given.get("timing_cache"))):
            if path is not None and not path.parent.is_dir():
                raise click.UsageError(f"{flag}: {path.parent} is not a folder")
        if self.output is not None and self.output.suffix.lower() not in (".onnx", *PLANS):
            raise click.UsageError(f"--output: the suffix of {self.output} is none of .onnx, {', '.join(PLANS)}")
        if self.recipe is None and self.output and self.output.exists() and self.output.samefile(self.source):
            raise click.UsageError(f"--output: {self.output} is SOURCE itself")
        self._check_recipe()
        if "calibration" in self.given and self.given.get("precision") != "int8":
            raise click.UsageError("--calibrate: only --precision int8 is calibrated")
        for name in ("calibration_pictures", "calibration_scaling"):
            if name in self.given and "calibration" not in self.given:
                raise click.UsageError(f"{self.flags[name]}: --calibrate names no folder of pictures")
        if not self.is_plan:
            self._check_onnx()
        names = [name for name, _ in self.given.get("shapes", ())]
        for name in {name for name in names if names.count(name) > 1}:
            raise click.UsageError(f"--shape: {name} is given twice")
        if "timing_cache" in self.given and "no_timing_cache" in self.given:
            raise click.UsageError("--timing-cache and --no-timing-cache exclude each other")
        # Ranges check themselves when they are made.
        try:
            self.options()
        except BuildError as error:
            raise click.UsageError(str(error)) from error

    def _check_recipe(self) -> None:
        for name, reason in _OF_RECIPES.items():
            if name in self.given and self.recipe is None:
                raise click.UsageError(f"{self.flags[name]}: {self.source} is none of the models that are made here")
            if name in self.given and self.recipe and name not in self.recipe.options:
                raise click.UsageError(f"{self.flags[name]}: {self.source} {reason}")
        for name in _OF_BATCHES:
            if name in self.given and self.recipe and self.recipe.max_batch_size == 0:
                raise click.UsageError(f"{self.flags[name]}: {self.source} has no batch dimension")

    def _check_onnx(self) -> None:
        for name in sorted(_OF_PLANS & self.given.keys()):
            raise click.UsageError(f"{self.flags[name]}: only for plans; name an OUTPUT that ends in .engine")
        if self.recipe is None and "max_batch" in self.given:
            raise click.UsageError("--max-batch: only for plans, and for ONNX files of models that are made here")
        if self.recipe is None and "precision" not in self.given:
            raise click.UsageError("--precision: an ONNX file is written to another only to change its precision")
        if len(self.given.get("max_batch", ())) > 1:
            raise click.UsageError("--max-batch: only plans have several ranges")

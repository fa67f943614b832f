"""The command `engine-build`."""

from pathlib import Path
from typing import Any

import click

from yais.engines.zoo import BuildError
from yais.engines.zoo.catalogue import CATALOGUE, Recipe
from yais.engines.zoo.output import default_path, write_whole

LISTING = "\b\nMODEL is one of\n" + "\n".join(f"  {name:<20}{recipe.summary}" for name, recipe in CATALOGUE.items())


@click.command(help=f"Builds the engine MODEL, an ONNX file, and prints its path.\n\n{LISTING}")
@click.argument("model", type=click.Choice(list(CATALOGUE)), metavar="MODEL")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: MODEL.onnx in the user's cache folder]",
)
@click.option(
    "--input",
    "pixels",
    type=click.Choice(["fp32", "uint8"]),
    help="How efficientnet-lite0 takes a picture: FP32 NCHW, normalised, or UINT8 NHWC, as it is.  [default: fp32]",
)
@click.option("--max-batch-size", type=click.IntRange(min=1), help="The largest batch.  [default: 64 for mlp, else 8]")
@click.option("--seed", type=click.IntRange(min=0), help="What seeded weights are drawn from.  [default: 0]")
def main(model: str, output: Path | None, max_batch_size: int | None, **options: Any) -> None:
    recipe = CATALOGUE[model]
    given = {name: value for name, value in options.items() if value is not None}
    _check(model, recipe, output, max_batch_size, given)
    batch = max_batch_size or recipe.max_batch_size
    variant = "-uint8" if given.get("pixels") == "uint8" else ""
    try:
        path = output or default_path(model + variant)
        data = recipe.build(batch, given)
        write_whole(path, data)
    except BuildError as error:
        raise click.ClickException(str(error)) from error
    click.echo(path)
    batching = f"largest batch {batch}" if batch else "no batch dimension"
    click.echo(f"{model}{variant}: {recipe.summary}; {batching}, {_size(len(data))}")


def _check(model: str, recipe: Recipe, output: Path | None, max_batch_size: int | None, given: dict[str, Any]) -> None:
    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"--output: {output.parent} is not a folder")
    if max_batch_size is not None and recipe.max_batch_size == 0:
        raise click.UsageError(f"--max-batch-size: {model} has no batch dimension")
    for name in sorted(given.keys() - recipe.options):
        flag, reason = {"pixels": ("--input", "takes no pictures"), "seed": ("--seed", "has no seeded weights")}[name]
        raise click.UsageError(f"{flag}: {model} {reason}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"

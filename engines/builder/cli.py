"""Command `engine-build`."""

from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import click

from yais.engines.base import EngineError
from yais.engines.builder.build import PreparedBuild, build_prepared, prepare, rewrite
from yais.engines.builder.command import BuildCommand, CapabilityParam, ShapeParam, SizeParam, SourceParam
from yais.engines.builder.model import encode, read_model
from yais.engines.builder.options import Scaling
from yais.engines.builder.output import write_whole
from yais.engines.builder.progress import ProgressBar, run_interruptibly
from yais.engines.builder.summary import describe_network, describe_plan, format_size
from yais.engines.tensorrt.library import Library, find_library
from yais.engines.zoo.catalogue import CATALOGUE
from yais.version import version_option

LISTING = "\b\nSOURCE is an ONNX file, or one of\n" + "\n".join(
    f"  {name:<20}{recipe.summary}" for name, recipe in CATALOGUE.items()
)
_FILE = click.Path(dir_okay=False, path_type=Path)
_BATCH = click.IntRange(min=1)
_INTERRUPTED = 130


@click.command(
    "engine-build",
    context_settings={"max_content_width": 100},
    help=f"""Builds an engine from SOURCE, and prints its path: a TensorRT plan where OUTPUT ends in .engine or .plan,
and an ONNX file where it ends in .onnx.\n\n{LISTING}

Exit codes: 0 when it was built, or --dry-run found nothing against it; 1 when not; 2 for options that cannot be; 130
after Ctrl-C.
""",
    epilog="""\b
Examples:
  engine-build efficientnet-lite0 --input uint8 -o efficientnet-lite0.onnx
  engine-build resnet50.onnx --precision fp16 --max-batch 32
  engine-build resnet50.onnx --precision int8 --calibrate pictures/ -o int8.engine
  engine-build encoder.onnx --shape tokens=16:128:512 --max-batch 4 --max-batch 32
  engine-build model.onnx --dry-run
""",
)
@click.argument("source", type=SourceParam(), metavar="SOURCE")
@click.option(
    "-o",
    "--output",
    type=_FILE,
    help="The file to write.  [default: for a file, beside it with the suffix .engine; otherwise an ONNX file in the "
    "user's cache folder]",
)
@click.option("--dry-run", is_flag=True, help="Only parse, and say what TensorRT does not take of it, and where.")
@click.option(
    "--input",
    "pixels",
    type=click.Choice(["fp32", "uint8"]),
    help="How efficientnet-lite0 takes a picture: FP32 NCHW, normalised, or UINT8 NHWC, as it is.  [default: fp32]",
)
@click.option("--seed", type=click.IntRange(min=0), help="What seeded weights are drawn from.  [default: 0]")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="What layers compute in.  [default: as the model is]",
)
@click.option(
    "--calibrate",
    "calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of pictures that a model is run on, to find its ranges for --precision int8.",
)
@click.option("--calibration-pictures", type=click.IntRange(min=1), help="How many of them.  [default: 128]")
@click.option(
    "--calibration-scaling",
    type=click.Choice(get_args(Scaling)),
    help="How their pixels are scaled for an input of FP32: (x - 127) / 128 for lite, x / 127.5 - 1 for inception, "
    "x / 255 for unit, by ImageNet's mean and deviation, or not at all.  [default: lite]",
)
@click.option("--min-batch", type=_BATCH, multiple=True, help="The smallest batch.  [default: 1]")
@click.option(
    "--opt-batch", type=_BATCH, multiple=True, help="The batch to be fastest at.  [default: that of --max-batch]"
)
@click.option(
    "--max-batch",
    "--max-batch-size",
    "max_batch",
    type=_BATCH,
    multiple=True,
    help="The largest batch. Given several times, with the two above or without, there is a range for each.  "
    "[default: what the model declares, otherwise 8]",
)
@click.option(
    "--shape",
    "shapes",
    type=ShapeParam(),
    multiple=True,
    help="An input's dimensions, the batch left out, such as tokens=16:128:512 or x=3x64x64:3x224x224:3x512x512.",
)
@click.option("--workspace", type=SizeParam(), help="Memory for layers' scratch, such as 512MiB.  [default: the GPU's]")
@click.option("--optimization-level", type=click.IntRange(0, 5), help="How long to look for fast kernels.")
@click.option("--version-compatible", is_flag=True, help="A plan that later versions of TensorRT load as well.")
@click.option(
    "--hardware-compatible",
    type=click.Choice(["ampere-plus", "same-compute-capability"]),
    help="A plan that other GPUs load as well.",
)
@click.option("--weight-streaming", is_flag=True, help="A plan whose weights may stay in the host's memory.")
@click.option(
    "--timing-cache", type=_FILE, help="What was measured, for the next build.  [default: OUTPUT with .timing]"
)
@click.option("--no-timing-cache", is_flag=True, help="Keep no such file.")
@click.option(
    "--capability",
    "capabilities",
    type=CapabilityParam(),
    multiple=True,
    help="A GPU to build for, such as 8.6; TensorRT-RTX only.  [default: all that it knows]",
)
@click.option(
    "--tensorrt", type=click.Choice(["tensorrt", "tensorrt-rtx"]), help="Which one.  [default: what is installed]"
)
@version_option
@click.pass_context
def main(ctx: click.Context, /, source: str, output: Path | None, dry_run: bool, **options: Any) -> None:
    # Defaults are those of `BuildOptions`, so that what was not given is left out here.
    given = {name: value for name, value in options.items() if value is not None and value != () and value is not False}
    flags = {flag.name or "": max(flag.opts, key=len) for flag in ctx.command.params}
    command = BuildCommand(source, output, dry_run, given, flags)
    command.check()
    try:
        if command.is_plan:
            _build_plan(command)
        else:
            _build_onnx(command)
    except EngineError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Aborted!", err=True)
        ctx.exit(_INTERRUPTED)


def _build_onnx(command: BuildCommand) -> None:
    path = command.path
    if command.recipe and "precision" not in command.given:
        data = command.onnx()
    else:
        with command.file() as source:
            data = encode(rewrite(read_model(source), command.options()))
    write_whole(path, data)
    click.echo(path)
    batching = f"largest batch {command.batch}" if command.batch else "no batch dimension"
    summary = f"{command.recipe.summary}; {batching}" if command.recipe else command.given["precision"]
    click.echo(f"{command.name}: {summary}, {format_size(len(data))}")


def _build_plan(command: BuildCommand) -> None:
    library = find_library(command.given.get("tensorrt"))
    if "timing_cache" in command.given and not library.features.has_timing_cache:
        raise click.UsageError(f"--timing-cache: {library.title} measures nothing when it builds")
    if command.dry_run:
        lines = list(describe_network(_prepare(command, library)))
        click.echo("\n".join((f"{library.title} takes {command.source}", *lines)))
        return
    plan, seconds, lines = _build(command, library)
    write_whole(command.path, plan)
    # By now the builder and its weights are gone, and leave their room to the plan that is loaded.
    click.echo("\n".join((str(command.path), *lines, *describe_plan(library, plan, seconds))))


def _prepare(command: BuildCommand, library: Library) -> PreparedBuild:
    with command.file() as path:
        return prepare(path, command.options(), library)


def _build(command: BuildCommand, library: Library) -> tuple[bytes, float, list[str]]:
    """The plan, the seconds that building took, and lines about the network."""
    prepared, options = _prepare(command, library), command.options()
    # Parsing may fail for what the model is; only the build itself is worth a progress bar and a time.
    started = perf_counter()
    with ProgressBar() as bar:
        plan = run_interruptibly(lambda: build_prepared(prepared, options, bar), bar.cancel)
    return plan, perf_counter() - started, list(describe_network(prepared))

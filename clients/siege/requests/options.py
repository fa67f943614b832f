"""siege's own options of what to send."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from yais.clients.options import FILE, FILE_OR_FOLDER, CommonOptions, Number, allow_one_of, take_fields
from yais.clients.siege.requests.mix import Mix, parse_mix


@dataclass(frozen=True, slots=True)
class Inputs:
    """What siege sends beyond `CommonOptions`, and what it compares the answers with; the fields are the options."""

    mix: Mix
    method: str
    message: tuple[Path, ...]
    shared_memory: bool
    check: Path | None
    write_golden: Path | None
    rtol: float
    atol: float


def _parse_mix(context: click.Context, parameter: click.Parameter, value: str | None) -> Mix:
    try:
        return () if value is None else parse_mix(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _parse_method(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    if value is None:
        return ""
    if not re.fullmatch(r"/?[\w.]+/\w+", value):
        raise click.BadParameter(f"{value!r} is not /package.Service/Method")
    return f"/{value.lstrip('/')}"


_OPTIONS = (
    click.option(
        "--mix",
        callback=_parse_mix,
        metavar="NAME[:VERSION]=WEIGHT,...",
        help="Several models to call, each with inputs of its own, drawn by weight: mlp=3,identity=1.",
    ),
    click.option(
        "--method",
        callback=_parse_method,
        metavar="/package.Service/Method",
        help="Any unary method to call instead of ModelInfer; the server is asked for nothing else.",
    ),
    click.option(
        "--message",
        type=FILE_OR_FOLDER,
        multiple=True,
        help="File of a message for --method, sent as it is; several, or those of a folder, take turns; by default an "
        "empty message.",
    ),
    click.option(
        "--shared-memory",
        is_flag=True,
        help="Put the inputs into system shared memory, for a server on this machine, and send references to them.",
    ),
    click.option("--check", type=FILE, help="Golden file, .npz: an answer that differs from it is wrong."),
    click.option(
        "--write-golden",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Ask for each answer once before the load, write them as a golden file, and check the load against it.",
    ),
    click.option(
        "--rtol",
        type=Number(min=0),
        default=1e-3,
        show_default=True,
        help="A float may differ by rtol x the golden one + atol.",
    ),
    click.option("--atol", type=Number(min=0), default=1e-5, show_default=True, help="See --rtol."),
)


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds these options below `common_options`; the command gets them as its second argument, an `Inputs`."""

    @wraps(command)
    def call(common: CommonOptions, **values: Any) -> None:
        inputs = take_fields(Inputs, values)
        _check(common, inputs)
        command(common, inputs, **values)

    for option in reversed(_OPTIONS):
        call = option(call)
    return call


def _check(common: CommonOptions, inputs: Inputs) -> None:
    allow_one_of(*common.files, *_given({"--mix": inputs.mix, "--method": inputs.method}))
    allow_one_of(*_given({"--check": inputs.check, "--write-golden": inputs.write_golden}))
    model = {"--model": common.model, "--model-version": common.model_version}
    shape = {"--batch": common.batch, "--shape": common.shape, "--shared-memory": inputs.shared_memory}
    if inputs.mix:
        allow_one_of("--mix", *_given(model))
    if inputs.method:
        allow_one_of("--method", *_given({**model, **shape}))
    elif inputs.message:
        raise click.UsageError("--message needs --method")


def _given(options: Mapping[str, object]) -> list[str]:
    return [name for name, value in options.items() if value]

"""Output files: checked before a run begins, and replaced as a whole after it."""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import click


class OutputFile(click.ParamType[Path]):
    """A file that can be written; it is neither made nor changed yet."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(value))
        try:
            check_writable(path)
        except OSError as error:
            self.fail(f"cannot write '{path}': {error.strerror}", param, ctx)
        return path


def check_writable(path: Path) -> None:
    """Raises OSError unless it can be written."""
    # To open a pipe and to close it again would end it for its reader.
    if path.exists() and not path.is_file() and not path.is_dir():
        return
    is_new = not path.exists()
    path.open("ab").close()
    if is_new:
        path.unlink()


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Has `write` fill a new file, which then takes the place of an old one. Raises OSError; the old one then stays."""
    # A link stays one.
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            write(file)
        return
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            write(file)
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_error(option: str, path: Path, error: OSError) -> str:
    return f"{option}: cannot write '{path}': {error.strerror}"

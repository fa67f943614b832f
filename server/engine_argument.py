"""Engine argument: an engine's file with its name and its own settings, as text, as a TOML table or in Python."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from yais.server.bounds import BOUNDS, check_bounds
from yais.server.options import Duration

# The settings that a model may have of its own, named as the flags are.
_SETTINGS: Mapping[str, click.ParamType[Any]] = {
    "contexts": click.IntRange(*BOUNDS["contexts"]),
    "buffers": click.IntRange(*BOUNDS["buffers"]),
    "threads": click.IntRange(*BOUNDS["threads"]),
    "max-batch-size": click.IntRange(*BOUNDS["max_batch_size"]),
    "max-queue-delay": Duration("ms", maximum=BOUNDS["max_queue_delay"][1]),
    "max-queue-size": click.IntRange(*BOUNDS["max_queue_size"]),
}


@dataclass(frozen=True, slots=True)
class EngineSource:
    """A model's name, the file of its engine, and settings of its own: where one is None, the server's holds.

        EngineSource("flowers", Path("flowers.onnx"), contexts=2, max_batch_size=16)

    Raises ValueError for a setting that is out of its bounds.
    """

    name: str
    path: Path
    contexts: int | None = None
    buffers: int | None = None
    threads: int | None = None
    max_batch_size: int | None = None
    max_queue_delay: float | None = None
    max_queue_size: int | None = None

    def __post_init__(self) -> None:
        check_bounds(self)


class EngineArgument(click.ParamType[EngineSource]):
    """`[NAME=]PATH[,SETTING=VALUE]...`; the name defaults to that of the file without its suffix."""

    name = "[name=]path[,setting=value]..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> EngineSource:
        try:
            return read_engine(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Blanks separate engines; one whose path holds a blank is quoted as in a shell."""
        try:
            return shlex.split(rv)
        except ValueError as error:
            raise click.BadParameter(f"{rv!r}: {error}; quote engines as in a shell") from error


def read_engine(entry: EngineSource | Path | str | Mapping[str, Any]) -> EngineSource:
    """An engine, however it is given: a string as on the command line, a table as in a TOML file.

    Raises ValueError that names what cannot be.
    """
    match entry:
        case EngineSource():
            return entry
        case Path():
            return EngineSource(entry.stem, entry)
        case str():
            return _parse(entry)
    return _from_table(entry)


def _parse(text: str) -> EngineSource:
    file, *parts = text.split(",")
    name, equals, path = file.partition("=")
    # "=" may also be in a folder's name.
    if not equals or "/" in name:
        name, path = Path(file).stem, file
    if not name or not path:
        raise ValueError(f"{text!r} is not [NAME=]PATH")
    return EngineSource(name, Path(path), **_read_settings(part.partition("=")[::2] for part in parts))


def _from_table(table: Mapping[str, Any]) -> EngineSource:
    own = {key: table[key] for key in ("name", "path") if key in table}
    if not all(isinstance(text, str) and text for text in own.values()):
        raise ValueError(f"{own!r}: name and path are strings")
    if "path" not in own:
        raise ValueError(f"{dict(table)!r} has no path")
    path = Path(own["path"])
    settings = _read_settings((key, value) for key, value in table.items() if key not in own)
    return EngineSource(own.get("name", path.stem), path, **settings)


def _read_settings(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in pairs:
        flag = key.replace("_", "-")
        if flag not in _SETTINGS:
            raise ValueError(f"'{key}' is no setting of an engine; {_remedy(flag)}")
        name = flag.replace("-", "_")
        if name in settings:
            raise ValueError(f"'{key}' is given twice")
        try:
            # As text, so that one set of checks serves the command line and the file; a bool is no number in either.
            settings[name] = _SETTINGS[flag].convert(str(value), None, None)
        except click.BadParameter as error:
            raise ValueError(f"{flag}: {error.message}") from error
    return settings


def _remedy(key: str) -> str:
    similar = get_close_matches(key, _SETTINGS, n=1)
    if similar:
        return f"did you mean '{similar[0]}'?"
    known = ", ".join(sorted(_SETTINGS))
    return f'these are: {known}. A path with a comma goes into the file of --config: [[engine]] path = "..."'

"""Options that take a file or a folder of them."""

from collections.abc import Collection
from pathlib import Path


def list_files(path: Path, suffixes: Collection[str] = ()) -> list[Path]:
    """`path` itself; of a folder its files by name, without hidden ones, only those with one of `suffixes` if given."""
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.iterdir()
        if file.is_file() and not file.name.startswith(".") and (not suffixes or file.suffix.lower() in suffixes)
    )

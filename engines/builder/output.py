"""Output of a build: the path of an engine file, and writing it whole."""

import os
import secrets
from pathlib import Path

from yais.engines.zoo import BuildError


def default_path(name: str) -> Path:
    """`name`.onnx in the user's cache folder, which is made if need be."""
    try:
        from platformdirs import user_cache_path
    except ModuleNotFoundError as error:
        raise BuildError("the package platformdirs is missing: pip install 'yais[build]', or name a file") from error
    try:
        return user_cache_path("yais", appauthor=False, ensure_exists=True) / f"{name}.onnx"
    except OSError as error:
        raise BuildError(f"cannot make the cache folder {error.filename}: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one step, so that a reader finds the old file or the new one and never a part."""
    # In the same folder, since a rename does not cross file systems; hidden, and of a name that no other writer has.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            # Before the rename, which could otherwise reach the disk first and leave an empty file after a crash.
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise BuildError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)

"""Writes type stubs of TensorRT to the file named, taken from a module itself: its packages bring none.

    python make_stubs.py FILE [MODULE]

MODULE is that of TensorRT-RTX unless given.
"""

import ast
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mypy.stubgen import main as stubgen

RTX = "tensorrt_rtx_bindings.tensorrt_rtx"
MODULE = sys.argv[2] if len(sys.argv) > 2 else RTX

# What the module does besides what the signatures say: dimensions are sequences, and made of such.
ADDED = (
    (r"^class Dims:", "class Dims(collections.abc.Sequence[int]):"),
    (r"(\w+: Dims)(?=[,)])", r"\1 | collections.abc.Sequence[int]"),
    (r"^class IHostMemory:", "class IHostMemory(typing_extensions.Buffer):"),
    (r"\A", "import collections.abc\nimport typing_extensions\n"),
)

if MODULE == RTX:
    # Stubgen imports this file in a process of its own, where the bindings must find their libraries as well.
    from yais.engines.tensorrt.library import find_library

    find_library("tensorrt-rtx")


def without_errors(source: str) -> str:
    """Leaves out the lines that are no Python, docstrings that stubgen took for signatures, and the other `bool`."""
    lines = [line for line in source.splitlines(keepends=True) if not line.startswith("bool:")]
    while True:
        try:
            ast.parse("".join(lines))
        except SyntaxError as error:
            if error.lineno is None:
                raise
            del lines[error.lineno - 1]
        else:
            return "".join(lines)


def completed(source: str) -> str:
    for pattern, replacement in ADDED:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return source


def main(target: Path) -> None:
    with TemporaryDirectory() as folder:
        stubgen(["--quiet", "--module", MODULE, "--inspect-mode", "--output", folder])
        (made,) = Path(folder).rglob("*.pyi")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(completed(without_errors(made.read_text())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

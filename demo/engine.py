"""Prints the path of the demo engine, which is built in the user's cache folder when it is not there yet."""

import subprocess
import sys
from pathlib import Path

from yais.engines.builder.output import default_path

MODEL = "efficientnet-lite0"


def demo_engine() -> Path:
    """The engine's path; raises CalledProcessError when it cannot be built."""
    path = default_path(MODEL)
    if not path.exists():
        print(f"== The demo's engine, once: {path}", file=sys.stderr)
        builder = Path(sys.executable).with_name("engine-build")
        subprocess.run([builder, MODEL, "-o", path], check=True, stdout=sys.stderr)
    return path


if __name__ == "__main__":
    print(demo_engine())

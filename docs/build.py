"""Build of the documentation site: the pages, with what is generated from the code, through Zensical into a folder."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
from generate import GENERATED

ROOT = Path(__file__).parents[1]
SOURCES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/*.css",
    "docs/pictures/*",
    "bench/**/README.md",
    "bench/results/*.svg",
)
_MARKER = re.compile(r"^<!-- generated: ([a-z ]+) -->$", flags=re.MULTILINE)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(folder: Path) -> None:
    """Builds the site in FOLDER/site; a broken link, anchor or reference is an error."""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in SOURCES:
        for source in ROOT.glob(pattern):
            stage(source, folder / "source" / source.relative_to(ROOT))
    shutil.copy(ROOT / "docs/zensical.toml", folder)
    (folder / "src").symlink_to(ROOT / "src")
    zensical = Path(sys.executable).with_name("zensical")
    sys.exit(subprocess.run([zensical, "build", "--strict"], cwd=folder).returncode)


def stage(source: Path, copy: Path) -> None:
    """Copies a file; in a page, what is generated takes the place of its marker."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, copy)
    if source.suffix == ".md":
        copy.write_text(_MARKER.sub(lambda marker: GENERATED[marker[1]](), source.read_text()))


if __name__ == "__main__":
    main()

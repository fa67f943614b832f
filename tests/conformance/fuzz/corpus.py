"""The corpora: the inputs of each fuzz target that are kept, in one archive each.

`python -m conformance.fuzz.corpus pack TARGET FOLDER` makes that of `connection` or `templates` from the files of a
folder, and `unpack TARGET FOLDER` does the reverse.
"""

import gzip
import io
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path


def inputs(target: str) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each."""
    with tarfile.open(_archive(target)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            yield member.name, content.read()


def replay(target: str, play: Callable[[bytes], object]) -> list[object]:
    """What `play` makes of each input. Raises AssertionError, which names the input, for one that fails."""
    results = []
    for name, data in inputs(target):
        try:
            results.append(play(data))
        except Exception as error:
            raise AssertionError(f"Input {name} of the corpus, {data.hex()}: {error}") from error
    return results


def pack(target: str, folder: Path) -> None:
    """Similar inputs stand beside each other, which makes the archive small; the same inputs make the same archive."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        contents = {path.read_bytes() for path in folder.iterdir()}
        for number, content in enumerate(sorted(contents, key=lambda content: (content[:1], len(content), content))):
            member = tarfile.TarInfo(f"{number:04}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    _archive(target).write_bytes(gzip.compress(plain.getvalue(), mtime=0))


def unpack(target: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in inputs(target):
        (folder / name).write_bytes(content)


def _archive(target: str) -> Path:
    return Path(__file__).parent / target / "corpus.tar.gz"


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))

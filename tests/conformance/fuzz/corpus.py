"""The inputs that are kept, in one archive: `python -m conformance.fuzz.corpus pack FOLDER`, and `unpack FOLDER`."""

import gzip
import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ARCHIVE = Path(__file__).with_name("corpus.tar.gz")


def inputs() -> Iterator[tuple[str, bytes]]:
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            yield member.name, content.read()


def pack(folder: Path) -> None:
    """Similar inputs stand beside each other, which makes the archive small; the same inputs make the same archive."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        contents = [path.read_bytes() for path in folder.iterdir()]
        for number, content in enumerate(sorted(contents, key=lambda content: (content[:1], len(content), content))):
            member = tarfile.TarInfo(f"{number:04}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    ARCHIVE.write_bytes(gzip.compress(plain.getvalue(), mtime=0))


def unpack(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in inputs():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(sys.argv[2]))

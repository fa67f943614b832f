"""The inputs that are kept, a line each in hexadecimal: `python -m ...fuzz_corpus pack FOLDER`, and `unpack FOLDER`."""

import sys
from pathlib import Path

_FILE = Path(__file__).with_name("corpus.txt")


def inputs() -> list[bytes]:
    return [bytes.fromhex(line) for line in _FILE.read_text().splitlines()]


def pack(folder: Path) -> None:
    contents = {path.read_bytes() for path in folder.iterdir()}
    _FILE.write_text("".join(content.hex() + "\n" for content in sorted(contents)))


def unpack(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(inputs()):
        (folder / f"{number:04}").write_bytes(content)


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(sys.argv[2]))

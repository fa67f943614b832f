from pathlib import Path
from typing import BinaryIO

import pytest

from yais.clients.outputs import check_writable, write_file


def write(file: BinaryIO) -> None:
    file.write(b"new")


def test_a_check_neither_makes_nor_changes_a_file(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize("name", [".", "absent/run.json", "file/run.json"])
def test_what_cannot_be_written_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Is a directory|No such file or directory|Not a directory"):
        check_writable(tmp_path / name)


def test_a_file_takes_the_place_of_the_old_one_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("a longer text")
    path.chmod(0o640)
    write_file(path, write)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_file(tmp_path / "link", write)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_a_file_that_could_not_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        write(file)
        raise OSError(28, "No space left on device")

    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        write_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_to_as_it_is() -> None:
    write_file(Path("/dev/null"), write)
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left"):
        write_file(Path("/dev/full"), write)

from pathlib import Path

from bench.structure import repeated_classes


def test_a_class_name_of_several_modules_is_listed_with_them(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Call:\n    class Inner: ...\n\n\nclass Server(Base): ...\n")
    (tmp_path / "two.pyx").write_text("cdef class Call:\n    pass\n")
    (tmp_path / "three.py").write_text("class Client:\n    class Inner: ...\n")
    assert repeated_classes([tmp_path]) == {"Call": [tmp_path / "one.py", tmp_path / "two.pyx"]}


def test_generated_modules_and_stubs_repeat_nothing(tmp_path: Path) -> None:
    for name in ("call.pyx", "call.pyi", "call_pb2.py"):
        (tmp_path / name).write_text("class Call:\n    pass\n")
    assert repeated_classes([tmp_path]) == {}

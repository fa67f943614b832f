import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from engines import models
from yais.engines import Device, EngineError, EngineOptions, needs_gpu, open_engine
from yais.engines import open as open_module


def refusal(path: Path) -> str:
    with pytest.raises(EngineError) as caught:
        open_engine(path)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".onnx", ".ONNX", ".Onnx"])
def test_an_onnx_file_is_opened_whatever_the_case_of_its_suffix(tmp_path: Path, suffix: str) -> None:
    engine = open_engine(models.identity(tmp_path / f"m{suffix}"))
    assert (engine.platform, engine.device) == ("onnxruntime_onnx", "cpu")


@pytest.mark.parametrize("name", ["missing.onnx", "missing.plan", "missing"])
def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name) == f"engine '{tmp_path / name}': no such file"


def test_a_file_that_cannot_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_long = tmp_path / f"{'m' * 300}.onnx"
    assert refusal(too_long) == f"engine '{too_long}': File name too long"
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    assert refusal(tmp_path / "loop.onnx").endswith("loop.onnx': Too many levels of symbolic links")
    assert refusal(Path("m\0.onnx")) == "engine 'm\0.onnx': no such file"

    # Root, as which tests may run, is kept out of no folder.
    def stat(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", stat)
    assert refusal(Path("folder/m.onnx")) == "engine 'folder/m.onnx': Permission denied"


@pytest.mark.parametrize("name", ["m.onnx", "m"])
def test_a_directory_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert refusal(tmp_path / name) == f"engine '{tmp_path / name}': not a regular file"


def test_a_link_to_nowhere_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").symlink_to(tmp_path / "nowhere")
    assert refusal(tmp_path / "m.onnx").endswith("no such file")


@pytest.mark.parametrize("name", ["m.trt", "m", "m.onnx.gz", ".onnx"])
def test_an_unknown_file_type_names_those_that_are_known(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    assert refusal(path) == f"engine '{path}': unknown file type '{path.suffix}', known are .onnx, .engine, .plan"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08\x12", bytes(1000)], ids=repr)
def test_a_file_that_is_no_model_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert refusal(path).startswith(f"engine '{path}': not a model that ONNX Runtime can load: ")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_model_is_told(tmp_path: Path, share: float) -> None:
    path = models.add(tmp_path / "m.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path).startswith(f"engine '{path}': not a model that ONNX Runtime can load: ")


def test_a_classifier_with_dictionaries_is_told_the_option_that_avoids_them(tmp_path: Path) -> None:
    text = refusal(models.dictionaries(tmp_path / "m.onnx"))
    assert text.endswith(
        "tensor 'Y' is a seq(map(int64,tensor(float))), which the inference protocol cannot carry; "
        "convert it with options={'zipmap': False}"
    )


def test_a_tensor_that_the_protocol_cannot_carry_is_told(tmp_path: Path) -> None:
    path = models.sequence(tmp_path / "m.onnx")
    text = refusal(path)
    assert text == f"engine '{path}': tensor 'Y' is a seq(tensor(float)), which the inference protocol cannot carry"


def test_a_backend_gets_the_path_and_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setitem(open_module._BACKENDS, (".model", "cpu"), lambda *asked: seen.append(asked))
    path = tmp_path / "m.model"
    path.write_bytes(b"")
    open_engine(path)
    open_engine(path, EngineOptions(3, 2, 1))
    assert seen == [(path, EngineOptions()), (path, EngineOptions(3, 2, 1))]


@pytest.mark.parametrize(
    ("name", "device", "needed"),
    [
        ("m.onnx", "cpu", False),
        ("m.onnx", "cuda", True),
        ("m.engine", "cpu", True),
        ("m.PLAN", "cpu", True),
        ("m.txt", "cuda", False),
    ],
)
def test_a_gpu_is_needed_for_plans_and_wherever_it_is_asked_for(name: str, device: Device, needed: bool) -> None:
    assert needs_gpu(Path(name), device) is needed

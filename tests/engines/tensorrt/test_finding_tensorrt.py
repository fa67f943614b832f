import logging
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from yais.engines import EngineError
from yais.engines.tensorrt import library as library_module
from yais.engines.tensorrt.library import Features, Library, find_library
from yais.engines.tensorrt.logger import Messages, make_logger
from yais.engines.tensorrt.plan import Header, read_header

Install = Any


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes modules of these names and versions the only ones of TensorRT that there are."""
    modules: dict[str, ModuleType] = {}

    def spec(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name in modules else None

    def install(**versions: str) -> None:
        for name, version in versions.items():
            modules[name] = ModuleType(name)
            modules[name].__dict__.update(__version__=version, Builder=object)

    monkeypatch.setattr(library_module, "find_spec", spec)
    monkeypatch.setattr(library_module, "import_module", modules.__getitem__)
    return install


@pytest.mark.parametrize(
    ("installed", "title", "features"),
    [
        ({"tensorrt": "10.13.0.35"}, "TensorRT 10.13.0.35", Features(False, True, False, False, False)),
        ({"tensorrt": "11.4.0.106"}, "TensorRT 11.4.0.106", Features(False, True, False, True, False)),
        ({"tensorrt_rtx": "1.7.1.116"}, "TensorRT-RTX 1.7.1.116", Features(True, False, True, True, True)),
        ({"tensorrt_rtx_bindings": "1.7.1.116"}, "TensorRT-RTX 1.7.1.116", Features(True, False, True, True, True)),
        (
            {"tensorrt_rtx": "1.7.1.116", "tensorrt": "10.3.0"},
            "TensorRT 10.3.0",
            Features(False, True, False, False, False),
        ),
    ],
)
def test_the_installed_tensorrt_is_found_with_what_it_lacks(
    install: Install, installed: dict[str, str], title: str, features: Features
) -> None:
    install(**installed)
    found = find_library()
    assert (found.title, found.features) == (title, features)


def test_one_kind_may_be_asked_for(install: Install) -> None:
    install(tensorrt="10.3.0", tensorrt_rtx="1.7.1.116")
    assert find_library("tensorrt-rtx").title == "TensorRT-RTX 1.7.1.116"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (None, r"^TensorRT is not installed: pip install 'yais\[gpu\]'$"),
        ("tensorrt", r"^TensorRT is not installed: pip install 'yais\[gpu\]'$"),
        ("tensorrt-rtx", r"^TensorRT-RTX is not installed: pip install 'tensorrt-rtx'$"),
    ],
)
def test_what_is_missing_is_told_with_what_to_install(install: Install, kind: Any, text: str) -> None:
    with pytest.raises(EngineError, match=text):
        find_library(kind)


def test_a_module_that_cannot_be_imported_is_told_with_why(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ImportError("libnvinfer.so.10: cannot open shared object file")

    install(tensorrt="10.3.0")
    monkeypatch.setattr(library_module, "import_module", refuse)
    with pytest.raises(EngineError, match=r"^tensorrt is installed, but cannot be imported: libnvinfer\.so\.10"):
        find_library()


def test_stubs_alone_are_no_tensorrt(install: Install) -> None:
    install(tensorrt="10.3.0")
    del library_module.import_module("tensorrt").__dict__["Builder"]
    with pytest.raises(EngineError, match="is not installed"):
        find_library()


def test_rtx_has_all_that_is_used_of_tensorrt(rtx: Library) -> None:
    assert [name for name in library_module.Module.__annotations__ if not hasattr(rtx.module, name)] == []


@pytest.mark.parametrize(
    ("first", "header"),
    [
        (b"ftrt" + bytes(20) + bytes([10, 13, 0, 35]), Header("tensorrt", (10, 13, 0, 35))),
        (b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + bytes(9), Header("tensorrt-rtx", (1, 7, 1, 116))),
    ],
)
def test_a_plan_tells_who_made_it(first: bytes, header: Header) -> None:
    assert read_header(first) == header


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (b"", "^not a TensorRT plan: "),
        (b"\x08\x08\x12\x04yais", "^not a TensorRT plan: "),
        (b"ftrt" + bytes(23), "^not a whole TensorRT plan: it has 27 bytes$"),
    ],
)
def test_what_is_no_plan_is_told(first: bytes, text: str) -> None:
    with pytest.raises(EngineError, match=text):
        read_header(first)


def test_a_plan_built_here_tells_that_rtx_made_it(rtx: Library) -> None:
    numbers = tuple(map(int, rtx.version.split(".")))
    assert Header("tensorrt-rtx", numbers).title == f"TensorRT-RTX {rtx.version}"


def test_errors_are_kept_until_they_are_taken_and_others_logged(rtx: Library, caplog: pytest.LogCaptureFixture) -> None:
    messages = Messages()
    logger: Any = make_logger(rtx.module, messages)
    severity = rtx.module.ILogger.Severity
    with caplog.at_level(logging.DEBUG, "yais.engines.tensorrt"):
        logger.log(severity.ERROR, "first ")
        logger.log(severity.WARNING, "beware")
        logger.log(severity.INTERNAL_ERROR, "second")
        logger.log(severity.ERROR, "first")
    assert messages.take() == "first; second"
    assert messages.take() == "TensorRT does not say why"
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == ["beware"]


def test_that_there_is_another_logger_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    Messages().add("WARNING", "The logger passed into createInferBuilder differs from one already registered")
    assert not caplog.records


def test_no_more_than_the_latest_errors_are_kept() -> None:
    messages = Messages()
    for number in range(100):
        messages.add("ERROR", str(number))
    assert messages.take().split("; ") == [str(number) for number in range(80, 100)]

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from yais.server.log import LogFormat, LogFormatter, LogSettings, current_settings, log_to_stderr

# 2026-12-01T20:03:25.829575Z.
MOMENT = 1796155405.829575


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("yais.server.service", level, "/any/service.py", 128, message, arguments, None)
    made.created, made.process = MOMENT, 3355
    vars(made).update(extra)
    return made


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        ("default", 'I1201 20:03:25.829575 3355 service.py:128] "Draining: 3 request(s) in flight"'),
        ("ISO8601", '2026-12-01T20:03:25Z I 3355 service.py:128] "Draining: 3 request(s) in flight"'),
    ],
)
def test_a_line_has_tritons_shape(log_format: LogFormat, line: str) -> None:
    assert LogFormatter(log_format).format(record("Draining: %d request(s) in flight", 3)) == line


@pytest.mark.parametrize(
    ("level", "letter"), [("DEBUG", "D"), ("INFO", "I"), ("WARNING", "W"), ("ERROR", "E"), ("CRITICAL", "E")]
)
def test_a_level_is_a_letter(level: str, letter: str) -> None:
    made = record("m", level=logging.getLevelNamesMapping()[level])
    assert LogFormatter("default").format(made)[0] == letter
    assert LogFormatter("ISO8601").format(made).split()[1] == letter


@pytest.mark.parametrize("log_format", ["default", "ISO8601", "json"])
def test_what_a_client_sends_cannot_begin_a_line(log_format: LogFormat) -> None:
    line = LogFormatter(log_format).format(record("model '%s'", 'a"\nE1201 00:00:00.000000 1 a.py:1] "forged'))
    assert len(line.splitlines()) == 1
    assert r"a\"\nE1201" in line


def test_a_json_line_is_an_object_with_the_fields_of_the_message() -> None:
    line = LogFormatter("json").format(record("Loaded '%s'", "m", model="m", seconds=0.5))
    assert json.loads(line) == {
        "ts": "2026-12-01T20:03:25.829575Z",
        "level": "info",
        "logger": "yais.server.service",
        "msg": "Loaded 'm'",
        "pid": 3355,
        "model": "m",
        "seconds": 0.5,
    }


def test_a_field_that_json_does_not_know_is_its_text() -> None:
    assert json.loads(LogFormatter("json").format(record("m", error=ValueError("no"))))["error"] == "no"


def test_a_worker_is_named() -> None:
    assert LogFormatter("default", worker=2).format(record("Ready")).endswith('] "worker 2: Ready"')
    entry = json.loads(LogFormatter("json", worker=2).format(record("Ready")))
    assert (entry["worker"], entry["msg"]) == (2, "Ready")


@pytest.fixture
def failure() -> logging.LogRecord:
    try:
        raise ZeroDivisionError("of the engine")
    except ZeroDivisionError:
        return record("A batch failed", level=logging.ERROR, exc_info=sys.exc_info())


def test_a_traceback_follows_its_line(failure: logging.LogRecord) -> None:
    first, *others = LogFormatter("default").format(failure).splitlines()
    assert first.endswith('] "A batch failed"')
    assert others[0] == "Traceback (most recent call last):"
    assert others[-1] == "ZeroDivisionError: of the engine"


def test_a_traceback_is_a_field_in_json(failure: logging.LogRecord) -> None:
    (line,) = LogFormatter("json").format(failure).splitlines()
    assert json.loads(line)["traceback"].endswith("ZeroDivisionError: of the engine")


@contextmanager
def bare_root() -> Iterator[None]:
    """A root logger as it is in a process that has just started; pytest's handlers come back afterwards."""
    handlers, level = logging.root.handlers, logging.root.level
    logging.root.handlers = []
    logging.root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logging.root.handlers = handlers
        logging.root.setLevel(level)


def test_a_process_logs_to_stderr_and_its_workers_may_do_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with bare_root():
        log_to_stderr(LogSettings("INFO", "json"))
        logging.getLogger("yais.server").info("Ready")
        logging.getLogger("yais.server").debug("not to be seen")
        assert current_settings() == LogSettings(logging.INFO, "json")
    captured = capsys.readouterr()
    assert [json.loads(line)["msg"] for line in captured.err.splitlines()] == ["Ready"]
    assert captured.out == ""


def test_a_log_that_somebody_else_has_set_up_stays() -> None:
    handler = logging.StreamHandler()
    with bare_root():
        logging.root.addHandler(handler)
        log_to_stderr(LogSettings("INFO", "json"))
        assert logging.root.handlers == [handler]
        assert current_settings() == LogSettings(logging.WARNING, "default")

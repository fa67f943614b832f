"""Log of a server's process: lines as Triton writes them, or JSON objects, on stderr.

Triton's two formats differ in the time, which is UTC in both, and quote the message as a JSON string, so that nothing
that a client sends can look like a line of its own:

    default   I1201 20:03:25.829575 3355 service.py:128] "Draining: 3 request(s) in flight"
    ISO8601   2026-12-01T20:03:25Z I 3355 service.py:128] "Draining: 3 request(s) in flight"

A traceback follows its line. In JSON, `ts`, `level`, `logger` and `msg` come first, then what was logged with the
message as `extra`.
"""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["default", "ISO8601", "json"]

# Triton has no level below INFO, and none above ERROR.
_LETTERS = {"DEBUG": "D", "INFO": "I", "WARNING": "W", "ERROR": "E", "CRITICAL": "E"}
# What every record has; all else in one was given as `extra`.
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a process logs."""

    level: str | int = "INFO"
    format: LogFormat = "default"


class LogFormatter(logging.Formatter):
    """Formats records as `log_format` says; `worker` is the number of the process, where it is one of several."""

    def __init__(self, log_format: LogFormat, worker: int | None = None) -> None:
        super().__init__()
        self.log_format = log_format
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        if self.log_format == "json":
            return self._object(record)
        line = f"{self._preamble(record)} {record.process} {record.filename}:{record.lineno}] {self._quoted(record)}"
        traceback = self._traceback(record)
        return f"{line}\n{traceback}" if traceback else line

    def _preamble(self, record: logging.LogRecord) -> str:
        letter = _LETTERS.get(record.levelname, "I")
        time = datetime.fromtimestamp(record.created, UTC)
        if self.log_format == "ISO8601":
            return f"{time:%Y-%m-%dT%H:%M:%SZ} {letter}"
        return f"{letter}{time:%m%d %H:%M:%S.%f}"

    def _quoted(self, record: logging.LogRecord) -> str:
        worker = "" if self._worker is None else f"worker {self._worker}: "
        return json.dumps(worker + record.getMessage(), ensure_ascii=False)

    def _object(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "ts": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            "pid": record.process,
        }
        if self._worker is not None:
            entry["worker"] = self._worker
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        traceback = self._traceback(record)
        if traceback:
            entry["traceback"] = traceback
        return json.dumps(entry, ensure_ascii=False, default=str)

    def _traceback(self, record: logging.LogRecord) -> str:
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        return "\n".join([*parts, record.stack_info] if record.stack_info else parts)


def log_to_stderr(settings: LogSettings, worker: int | None = None) -> None:
    """Sets the root logger up, unless somebody else has."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter(settings.format, worker))
    logging.basicConfig(level=settings.level, handlers=[handler])


def current_settings() -> LogSettings:
    """How this process logs, for its workers to do the same."""
    formatters = [handler.formatter for handler in logging.root.handlers]
    formats = [each.log_format for each in formatters if isinstance(each, LogFormatter)]
    return LogSettings(logging.root.level, formats[0] if formats else "default")
